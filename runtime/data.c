/* data.c - a data set: from the names in a data block to columns in memory that fit each other and the model.
 *
 * Columns stay as their files have them.  What is checked here the compiled step relies on: equal numbers of rows, and
 * integers below their bounds.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/column.h"

const char *const nnd_split_name[NND_NSPLIT] = { "train", "test", "valid" };
static const char *const places[] = { "/usr/share/datasets/fashion-mnist" };
enum {
    NPLACE = sizeof places / sizeof *places,
    MAX_DIR = NPLACE + 2,
    FOLDER = sizeof ((NndData *)0)->directory,
    PATH = FOLDER + 512
};

/* A place to look in; one that the user named for data may also be the parent of the data set's folder. */
typedef struct Place { const char *dir; bool look_below; } Place;

/* ---- finding ---- */

/* dir/name; false if that is too long for path */
static bool join(char *path, size_t npath, const char *dir, const char *name, int nname, const char *rest)
{
    const char *slash = *dir && dir[strlen(dir) - 1] == '/' ? "" : "/";
    int n = snprintf(path, npath, "%s%s%.*s%s", dir, slash, nname, name, rest);

    return n >= 0 && (size_t)n < npath;
}

static bool is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Where the last "-idx" of a name stands, as in train-images-idx3-ubyte; NULL if it has none. */
static const char *idx_part(const char *name)
{
    const char *last = NULL;

    for (const char *p = name; (p = strstr(p, "-idx")); p++)
        last = p;
    return last;
}

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* What the source names in dir; IDX files under either spelling, plain or packed. */
static bool find_in(const char *dir, const NndSource *s, char path[PATH])
{
    const char *name = s->file, *idx = idx_part(name);
    char dotted[256];

    if (join(path, PATH, dir, name, -1, "") && (s->format == NND_IMAGES ? is_folder(path) : is_file(path)))
        return true;
    if (s->format != NND_IDX)
        return false;
    if (join(path, PATH, dir, name, -1, ".gz") && is_file(path))
        return true;
    if (!idx || snprintf(dotted, sizeof dotted, ".%s.gz", idx + 1) >= (int)sizeof dotted)
        return false;
    if (join(path, PATH, dir, name, (int)(idx - name), dotted) && is_file(path))
        return true;
    dotted[strlen(dotted) - 3] = '\0';
    return join(path, PATH, dir, name, (int)(idx - name), dotted) && is_file(path);
}

/* The one folder in dir that has the file.  Two are a question that only the user can answer. */
static int find_below(const char *dir, const NndSource *s, char found[FOLDER], NndError *err)
{
    char path[PATH], sub[FOLDER];
    DIR *d = opendir(dir);
    int rc = 0;

    found[0] = '\0';
    if (!d)
        return 0;
    for (struct dirent *e; !rc && (e = readdir(d));) {
        if (e->d_name[0] == '.' || !join(sub, sizeof sub, dir, e->d_name, -1, "") || !find_in(sub, s, path))
            continue;
        if (found[0])
            rc = nnd_fail(err, NND_E_DATA, "%s: found in %s and in %s, name the one that is wanted", s->file, found, sub);
        memcpy(found, sub, sizeof sub);
    }
    closedir(d);
    return rc;
}

static int list_places(const char *dir, const char *model_dir, Place list[MAX_DIR])
{
    const char *env = getenv("NND_DATA");
    int n = 0;

    if (dir) {
        list[0] = (Place){ dir, true };
        return 1;
    }
    if (env && *env)
        list[n++] = (Place){ env, true };
    if (model_dir)
        list[n++] = (Place){ model_dir, false };
    for (int i = 0; i < NPLACE; i++)
        list[n++] = (Place){ places[i], false };
    return n;
}

static const char *or_packed(const NndSource *s) { return s->format == NND_IDX ? " (nor with .gz)" : ""; }

/* The folder that has the file, to where. */
static int find_folder(const NndSource *s, const char *dir, const char *model_dir, char where[FOLDER], NndError *err)
{
    Place list[MAX_DIR];
    int n = list_places(dir, model_dir, list), rc;
    char path[PATH], searched[512] = "";
    size_t at = 0;

    for (int i = 0; i < n; i++) {
        if (find_in(list[i].dir, s, path) && snprintf(where, FOLDER, "%s", list[i].dir) < FOLDER)
            return 0;
        if (list[i].look_below && ((rc = find_below(list[i].dir, s, where, err)) || where[0]))
            return rc;
        if (at < sizeof searched)
            at += (size_t)snprintf(searched + at, sizeof searched - at, "%s%s", i ? ", " : "", list[i].dir);
    }
    where[0] = '\0';
    return nnd_fail(err, NND_E_FILE, "%s: not found%s in %s", s->file, or_packed(s), searched);
}

/* ---- checking ---- */

static int64_t element(const NndArray *a, int64_t i)
{
    switch ((NndDtype)a->dtype) {
    case NND_U8: case NND_BOOL: return ((const uint8_t *)a->data)[i];
    case NND_I32: return ((const int32_t *)a->data)[i];
    case NND_I64: return ((const int64_t *)a->data)[i];
    case NND_F32: case NND_F64: break;
    }
    return 0;
}

static int check_bound(const char *path, const NndField *f, const NndArray *a, NndError *err)
{
    int64_t n = a->nbytes / nnd_dtype_bytes((NndDtype)a->dtype), row = n / a->dim[0];

    if (!f->bound)
        return 0;
    for (int64_t i = 0; i < n; i++)
        if (element(a, i) < 0 || element(a, i) >= f->bound)
            return nnd_fail(err, NND_E_DATA, "%s: wanted %s in 0..%lld, found %lld in row %lld", path, f->name,
                            (long long)f->bound - 1, (long long)element(a, i), (long long)(i / row));
    return 0;
}

/* ---- reading ---- */

typedef struct Loader {
    NndData        *d;
    const NndField *field;
    const char     *dir, *model_dir;
    const char     *first;       /* name of the file that settled the folder */
    NndNames       *names;       /* of each field */
    NndError       *err;
} Loader;

static int find_file(Loader *l, const NndSource *s, char path[PATH])
{
    char *folder = l->d->directory;
    int rc;

    if (s->format == NND_ROWS) {         /* no file; its name in messages */
        snprintf(path, PATH, "rows(%lld)", (long long)s->number);
        return 0;
    }
    if (!l->first && (rc = find_folder(s, l->dir, l->model_dir, folder, l->err)))
        return rc;
    if (!find_in(folder, s, path))
        return nnd_fail(l->err, NND_E_FILE, "%s: not found%s in %s, where %s is", s->file, or_packed(s), folder, l->first);
    if (!l->first)
        l->first = s->file;
    return 0;
}

static int open_field(Loader *l, int split, int i)
{
    const NndField *f = &l->field[i];
    NndArray *a = &l->d->column[split][i];
    int64_t *nrow = &l->d->nrow[split];
    char path[PATH];
    NndColumn c = { .path = path, .field = f, .source = &f->source[split], .nfield = l->d->nfield, .names = &l->names[i],
                    .out = a, .err = l->err };
    int rc;

    if ((rc = find_file(l, c.source, path)) || (rc = nnd_column_read(&c))
        || (rc = check_bound(path, f, a, l->err)))
        return rc;
    if (i && a->dim[0] != *nrow)
        return nnd_fail(l->err, NND_E_DATA, "%s: wanted %lld rows, as field %s has in the %s split, found %lld", path,
                        (long long)*nrow, l->field[0].name, nnd_split_name[split], (long long)a->dim[0]);
    *nrow = a->dim[0];
    l->d->field[split][i] = a->data;
    return 0;
}

/* All fields of a split or none: a column that is not there can't be gathered from. */
static int open_split(Loader *l, int split)
{
    int n = l->d->nfield, rc = 0;

    l->d->column[split] = calloc((size_t)n + 1, sizeof *l->d->column[split]);
    l->d->field[split] = calloc((size_t)n + 1, sizeof *l->d->field[split]);
    if (!l->d->column[split] || !l->d->field[split])
        return nnd_fail(l->err, NND_E_MEMORY, "out of memory for %d fields", n);
    for (int i = 1; i < n; i++) {
        const NndField *a = &l->field[0], *b = &l->field[i];

        if (!a->source[split].format != !b->source[split].format)
            return nnd_fail(l->err, NND_E_DATA, "the %s split has a file for field %s, but none for %s",
                            nnd_split_name[split], a->source[split].format ? a->name : b->name,
                            a->source[split].format ? b->name : a->name);
    }
    for (int i = 0; i < n && !rc && l->field[0].source[split].format; i++)
        if (l->field[0].source[split].format != NND_SHARE)
            rc = open_field(l, split, i);
    if (!rc && n && l->field[0].source[split].format == NND_SHARE)
        rc = nnd_share_take(l->d, l->field[0].source[split].to, split, l->err);
    return rc;
}

static int count_split(Loader *l, int split, int64_t nrow[NND_NSPLIT])
{
    const NndSource *s = &l->field->source[split];
    char path[PATH];
    NndColumn c = { .path = path, .field = l->field, .source = s, .nfield = l->d->nfield, .names = l->names, .err = l->err };
    int rc;

    if (s->format == NND_ABSENT)
        return 0;
    if (s->format == NND_SHARE) {
        if ((nrow[split] = nnd_share_rows(s->to, nrow[NND_SPLIT_TRAIN], split, l->err)) >= 0)
            nrow[NND_SPLIT_TRAIN] -= nrow[split];
    } else {
        if ((rc = find_file(l, s, path)))
            return rc;
        nrow[split] = nnd_column_rows(&c);
    }
    return nrow[split] < 0 ? l->err->code : 0;
}

int nnd_data_rows(const NndField *field, int nfield, const char *dir, const char *model_dir, int64_t nrow[NND_NSPLIT],
                  NndError *err)
{
    NndError own;
    NndData d = { .nfield = nfield };
    NndNames names = { 0 };
    Loader l = { .d = &d, .field = field, .dir = dir, .model_dir = model_dir, .names = &names, .err = err ? err : &own };
    int rc = 0;

    memset(nrow, 0, NND_NSPLIT * sizeof *nrow);
    for (int split = 0; split < NND_NSPLIT && nfield && !rc; split++)
        rc = count_split(&l, split, nrow);
    nnd_names_free(&names);
    return rc;
}

/* The names of the first field that has any are the data set's. */
static void take_labels(NndData *data, NndNames *names)
{
    for (int i = 0; i < data->nfield && !data->label; i++)
        if (names[i].in_use && names[i].n) {
            data->label = names[i].name;
            data->nlabel = names[i].n;
            names[i] = (NndNames){ 0 };
        }
}

int nnd_data_open(NndData *data, const NndField *field, int nfield, const char *dir, const char *model_dir,
                  NndError *err)
{
    NndError own;
    Loader l = { .d = data, .field = field, .dir = dir, .model_dir = model_dir, .err = err ? err : &own };
    int rc = 0;

    *data = (NndData){ .nfield = nfield };
    if (!(l.names = calloc((size_t)nfield + 1, sizeof *l.names)))
        return nnd_fail(err, NND_E_MEMORY, "out of memory for %d fields", nfield);
    for (int split = 0; split < NND_NSPLIT && !rc; split++)
        rc = open_split(&l, split);
    take_labels(data, l.names);
    for (int i = 0; i < nfield; i++)
        nnd_names_free(&l.names[i]);
    free(l.names);
    if (rc)
        nnd_data_close(data);
    return rc;
}

void nnd_print_data(FILE *f, const NndData *data)
{
    fprintf(f, "data: %s%s%lld rows to train on", data->directory, *data->directory ? ", " : "",
            (long long)data->nrow[NND_SPLIT_TRAIN]);
    if (data->nrow[NND_SPLIT_VALID])
        fprintf(f, ", %lld to validate", (long long)data->nrow[NND_SPLIT_VALID]);
    fprintf(f, ", %lld to test\n", (long long)data->nrow[NND_SPLIT_TEST]);
}

void nnd_data_close(NndData *data)
{
    for (int i = 0; i < data->nlabel; i++)
        free(data->label[i]);
    free(data->label);

    for (int split = 0; split < NND_NSPLIT; split++) {
        for (int i = 0; data->column[split] && i < data->nfield; i++)
            nnd_array_free(&data->column[split][i]);
        free(data->column[split]);
        free(data->field[split]);
    }
    *data = (NndData){ 0 };
}
