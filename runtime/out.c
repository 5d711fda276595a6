/* out.c - a file that comes to be whole or not at all.
 *
 * Written beside its place under a name of its own, flushed, synced and renamed: who opens the path sees the old
 * file or the new one, also after a full disk or a crash.  What is no regular file (/dev/full, a pipe, a terminal)
 * can't be replaced and is written as it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/nnd.h"

enum { MAX_TRIES = 100 };     /* names that a crashed process with our number may have left */

static int cannot(const NndOut *o, int why, NndError *err)
{
    /* the longest paths leave no room for the reason */
    return nnd_fail(err, NND_E_FILE, "%.900s: cannot be written: %s", o->path, strerror(why));
}

/* The file that a rename will replace: where a link leads, so that the link stays.  0 or errno. */
static int resolve(const char *path, bool exists, char place[1024])
{
    char *real = exists ? realpath(path, NULL) : NULL;
    const char *from = real ? real : path;
    size_t len = strlen(from);
    int why = len < 1024 ? 0 : ENAMETOOLONG;

    if (!why)
        memcpy(place, from, len + 1);
    if (exists && !real)
        why = errno;
    free(real);
    return why;
}

/* A new file beside place, open for writing; -1 with errno. */
static int create_beside(NndOut *o, const char *place)
{
    int fd = -1;

    for (int i = 0; i < MAX_TRIES && fd < 0; i++) {
        snprintf(o->beside, sizeof o->beside, "%s.tmp-%d-%d", place, (int)getpid(), i);
        fd = open(o->beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    if (fd < 0)
        o->beside[0] = 0;
    return fd;
}

/* -1 with errno */
static int open_any(NndOut *o)
{
    char place[1024];
    struct stat st;
    bool exists = !stat(o->path, &st);
    int fd;

    if (exists && !S_ISREG(st.st_mode))
        return open(o->path, O_WRONLY | O_CLOEXEC);
    if (exists && faccessat(AT_FDCWD, o->path, W_OK, AT_EACCESS))
        return -1;                                                /* read-only: a rename would not ask */
    if ((errno = resolve(o->path, exists, place)))
        return exists && errno == ENOENT ? open(o->path, O_WRONLY | O_TRUNC | O_CLOEXEC) : -1;    /* it has no name */
    if ((fd = create_beside(o, place)) >= 0 && exists && fchmod(fd, st.st_mode & 0777)) {
        int why = errno;

        close(fd);
        unlink(o->beside);
        o->beside[0] = 0;
        errno = why;
        return -1;
    }
    return fd;
}

int nnd_out_open(NndOut *o, const char *path, NndError *err)
{
    int fd;

    o->f = NULL;
    o->beside[0] = 0;
    if ((size_t)snprintf(o->path, sizeof o->path, "%s", path) >= sizeof o->path)
        return cannot(o, ENAMETOOLONG, err);
    if ((fd = open_any(o)) < 0)
        return cannot(o, errno, err);
    if (!(o->f = fdopen(fd, "wb"))) {
        int why = errno;

        close(fd);
        if (o->beside[0])
            unlink(o->beside);
        return cannot(o, why, err);
    }
    return 0;
}

/* stdio remembers that a write failed but not why.  The file is lost anyway, so one more byte may tell. */
static int why_failed(FILE *f)
{
    ssize_t n;

    do
        n = write(fileno(f), "", 1);
    while (n < 0 && errno == EINTR);
    return n < 0 ? errno : EIO;
}

/* Everything written, and if it is to be renamed on the disk: 0 or errno. */
static int finish(NndOut *o)
{
    int why = 0;

    if (ferror(o->f))
        why = why_failed(o->f);
    else if (fflush(o->f) || (o->beside[0] && fsync(fileno(o->f))))
        why = errno;
    if (fclose(o->f) && !why)
        why = errno;
    o->f = NULL;
    return why;
}

int nnd_out_close(NndOut *o, NndError *err)
{
    char place[sizeof o->beside];
    int why = finish(o);

    if (!o->beside[0])
        return why ? cannot(o, why, err) : 0;
    memcpy(place, o->beside, sizeof place);
    *strrchr(place, '.') = 0;                                     /* ".tmp-PID-N" */
    if (!why && rename(o->beside, place))
        why = errno;
    if (why)
        unlink(o->beside);
    o->beside[0] = 0;
    return why ? cannot(o, why, err) : 0;
}

void nnd_out_drop(NndOut *o)
{
    if (o->f)
        fclose(o->f);
    if (o->f && o->beside[0])
        unlink(o->beside);
    o->f = NULL;
}
