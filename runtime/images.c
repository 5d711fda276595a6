/* images.c - a folder with a folder for each class: PGM and PNG files, class by class, each in the order of their names.
 *
 * Classes are numbered by their sorted names, or as the data block's labels say.
 * PGM: J. Poskanzer, "pgm - Netpbm grayscale image format".
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "runtime/column.h"

enum { PATH = 2048 };

/* ---- folders ---- */

typedef struct Folder { struct dirent **entry; int n; } Folder;

static int is_visible(const struct dirent *e) { return e->d_name[0] != '.'; }
static int by_bytes(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static int folder_open(Folder *f, const char *path, NndError *err)
{
    f->n = scandir(path, &f->entry, is_visible, by_bytes);
    return f->n >= 0 ? 0 : nnd_fail(err, NND_E_FILE, "%s: cannot be read: %s", path, strerror(errno));
}

static void folder_close(Folder *f)
{
    for (int i = 0; i < f->n; i++)
        free(f->entry[i]);
    free(f->entry);
}

static int join(char path[PATH], const char *dir, const char *name, NndError *err)
{
    return snprintf(path, PATH, "%s/%s", dir, name) < PATH ? 0
         : nnd_fail(err, NND_E_FILE, "%s/%s: wanted a path below %d bytes", dir, name, PATH);
}

/* ---- PGM ---- */

typedef struct Pgm { const char *path; const unsigned char *at, *end; NndError *err; } Pgm;

/* The next number of the header, or of a plain file's pixels, behind spaces and comments; -1 if there is none. */
static int64_t pgm_number(Pgm *p)
{
    int64_t x = 0;

    while (p->at < p->end && (isspace(*p->at) || *p->at == '#')) {
        bool comment = *p->at == '#';

        while (comment && p->at < p->end && *p->at != '\n')
            p->at++;
        if (!comment)
            p->at++;
    }
    if (p->at == p->end || !isdigit(*p->at))
        return -1;
    for (; p->at < p->end && isdigit(*p->at) && x < INT32_MAX; p->at++)
        x = 10 * x + (*p->at - '0');
    return x;
}

static int pgm_pixels(Pgm *p, bool plain, int64_t most, int64_t n, uint8_t *to)
{
    if (!plain && p->end - p->at < n)
        return nnd_fail(p->err, NND_E_FORMAT, "%s: wanted %lld pixels, found %lld", p->path, (long long)n,
                        (long long)(p->end - p->at));
    for (int64_t i = 0; i < n; i++) {
        int64_t x = plain ? pgm_number(p) : *p->at++;

        if (x < 0 || x > most)
            return nnd_fail(p->err, NND_E_FORMAT, "%s: wanted pixels from 0 to %lld, found %s number %lld", p->path,
                            (long long)most, x < 0 ? "none for" : "another for", (long long)i);
        to[i] = (uint8_t)((x * 255 + most / 2) / most);
    }
    return 0;
}

static int pgm_read(const char *path, int64_t height, int64_t width, uint8_t *to, NndError *err)
{
    int64_t nbytes, w, h, most;
    char *text = nnd_in_whole(path, &nbytes, err);
    Pgm p = { .path = path, .at = (unsigned char *)text + 2, .end = (unsigned char *)text + nbytes, .err = err };
    int rc;

    if (!text)
        return err->code;
    if (nbytes < 2 || text[0] != 'P' || (text[1] != '2' && text[1] != '5')) {
        rc = nnd_fail(err, NND_E_FORMAT, "%s: not a PGM file: wanted P5 or P2 at its start", path);
    } else {
        w = pgm_number(&p), h = pgm_number(&p), most = pgm_number(&p);
        if (w < 0 || h < 0 || most < 1 || most > 255)
            rc = nnd_fail(err, NND_E_FORMAT, "%s: wanted width, height and a largest value from 1 to 255", path);
        else if (w != width || h != height)
            rc = nnd_fail(err, NND_E_FORMAT, "%s: wanted an image of %lld x %lld, found %lld x %lld", path, (long long)height,
                          (long long)width, (long long)h, (long long)w);
        else {
            p.at += p.at < p.end && text[1] == '5';          /* one space, behind which come bytes */
            rc = pgm_pixels(&p, text[1] == '2', most, h * w, to);
        }
    }
    free(text);
    return rc;
}

/* ---- rows ---- */

static bool ends_with(const char *name, const char *ending)
{
    size_t n = strlen(name), k = strlen(ending);

    return n > k && !strcasecmp(name + n - k, ending);
}

static int read_image(NndColumn *c, const char *path, int64_t row)
{
    const NndField *f = c->field;
    int planes = f->rank == 3 ? 3 : 1;
    int64_t height = f->dim[f->rank - 2], width = f->dim[f->rank - 1];
    uint8_t *to = (uint8_t *)c->out->data + row * planes * height * width;

    if (ends_with(path, ".png"))
        return nnd_png_read(path, planes, height, width, to, c->err);
    if (planes == 3)
        return nnd_fail(c->err, NND_E_FORMAT, "%s: wanted an image in colour, found one in grey", path);
    return pgm_read(path, height, width, to, c->err);
}

/* The images of one class from *row on, looked at or only counted. */
static int read_class(NndColumn *c, int number, bool count, int64_t *row)
{
    char dir[PATH], path[PATH];
    Folder f;
    int rc;

    if ((rc = join(dir, c->path, c->names->name[number], c->err)) || (rc = folder_open(&f, dir, c->err)))
        return rc;
    for (int i = 0; i < f.n && !rc; i++, ++*row) {
        const char *name = f.entry[i]->d_name;

        if ((rc = join(path, dir, name, c->err)))
            break;
        if (!ends_with(name, ".png") && !ends_with(name, ".pgm"))
            rc = nnd_fail(c->err, NND_E_FORMAT, "%s: wanted .png and .pgm files alone in the folder of a class", path);
        else if (!count && *row == c->out->dim[0])
            rc = nnd_fail(c->err, NND_E_FORMAT, "%s: got more images while it was read", dir);
        else if (!count && c->source->number)
            nnd_column_set(c, *row, number);
        else if (!count)
            rc = read_image(c, path, *row);
    }
    folder_close(&f);
    return rc;
}

/* The folders are the classes, or some of them where those are settled. */
static int find_classes(NndColumn *c, bool *has)
{
    Folder f;
    char path[PATH];
    struct stat st;
    int rc = folder_open(&f, c->path, c->err);

    for (int i = 0; i < f.n && !rc; i++) {
        const char *name = f.entry[i]->d_name;
        int at = nnd_names_find(c->names, name);

        if ((rc = join(path, c->path, name, c->err)))
            break;
        if (stat(path, &st) || !S_ISDIR(st.st_mode))
            rc = nnd_fail(c->err, NND_E_FORMAT, "%s: wanted folders of classes alone in %s", path, c->path);
        else if (at < 0 && c->names->settled)
            rc = nnd_fail(c->err, NND_E_DATA, "%s: wanted one of the %d classes known, found `%s`", path, c->names->n, name);
        else if (at < 0 && (at = nnd_names_add(c->names, name)) < 0)
            rc = nnd_fail(c->err, NND_E_DATA, "%s: has more folders than there can be classes", c->path);
        if (!rc)
            has[at] = true;
    }
    if (f.n >= 0)
        folder_close(&f);
    c->names->settled = c->names->in_use = true;
    return rc;
}

static int read_classes(NndColumn *c, const bool *has, bool count, int64_t *nrow)
{
    int rc = 0;

    *nrow = 0;
    for (int i = 0; i < c->names->n && !rc; i++)
        if (has[i])
            rc = read_class(c, i, count, nrow);
    return rc;
}

int nnd_column_images(NndColumn *c)
{
    bool *has = calloc(NND_MAX_NAMES, sizeof *has);
    int64_t n;
    int rc;

    if (!has)
        return nnd_fail(c->err, NND_E_MEMORY, "%s: out of memory for its classes", c->path);
    if (!(rc = nnd_names_given(c->names, c->field, c->err)) && !(rc = find_classes(c, has))
        && (!c->source->number || !(rc = nnd_column_fits(c))) && !(rc = read_classes(c, has, true, &n))
        && !(rc = nnd_column_alloc(c, n)) && !(rc = read_classes(c, has, false, &n)) && n != c->out->dim[0])
        rc = nnd_fail(c->err, NND_E_FORMAT, "%s: lost images while it was read", c->path);
    free(has);
    return rc;
}
