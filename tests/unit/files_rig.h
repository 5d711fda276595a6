/* files_rig.h - a folder for files that a test makes, damages and reads back. */
#ifndef NND_TESTS_UNIT_FILES_RIG_H
#define NND_TESTS_UNIT_FILES_RIG_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "runtime/nnd.h"

typedef struct Place { char dir[512], path[600]; } Place;

static inline int make_place(void **state)
{
    const char *tmp = getenv("TMPDIR");
    Place *p = calloc(1, sizeof *p);

    snprintf(p->dir, sizeof p->dir, "%s/nnd-files-XXXXXX", tmp ? tmp : "/tmp");
    *state = p;
    if (!mkdtemp(p->dir))
        return -1;
    snprintf(p->path, sizeof p->path, "%s/file", p->dir);
    return 0;
}

/* Files in the folder; unlinks them if asked. */
static inline int count_files(const Place *p, bool unlink_them)
{
    DIR *d = opendir(p->dir);
    int n = 0;

    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        char path[1024];

        if (e->d_name[0] == '.')
            continue;
        n++;
        snprintf(path, sizeof path, "%s/%s", p->dir, e->d_name);
        if (unlink_them)
            unlink(path);
    }
    closedir(d);
    return n;
}

static inline int drop_place(void **state)
{
    Place *p = *state;

    count_files(p, true);
    rmdir(p->dir);
    free(p);
    return 0;
}

typedef struct Bytes { char b[4096]; size_t n; } Bytes;

static inline void put(const char *path, const void *b, size_t n)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(b, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline Bytes get(const char *path)
{
    FILE *f = fopen(path, "rb");
    Bytes x;

    assert_non_null(f);
    x.n = fread(x.b, 1, sizeof x.b, f);
    assert_true(x.n < sizeof x.b);
    fclose(f);
    return x;
}

static inline void check_sentence(const NndError *err, int code, const char *path, const char *word)
{
    assert_int_equal(err->code, code);
    if (strncmp(err->text, path, strlen(path)) || !strstr(err->text, word))
        fail_msg("wanted \"%s\" after the file's name in: %s", word, err->text);
}

#endif
