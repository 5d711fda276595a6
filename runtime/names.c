/* names.c - texts that have numbers: the classes of a column. */
#include <stdlib.h>
#include <string.h>

#include "runtime/column.h"

int nnd_names_find(const NndNames *names, const char *name)
{
    for (int i = 0; i < names->n; i++)
        if (!strcmp(names->name[i], name))
            return i;
    return -1;
}

int nnd_names_add(NndNames *names, const char *name)
{
    int at = nnd_names_find(names, name);
    char *copy;

    if (at >= 0)
        return at;
    if (names->n == NND_MAX_NAMES)
        return -1;
    if (names->n == names->cap) {
        int cap = names->cap ? 2 * names->cap : 16;
        char **grown = realloc(names->name, (size_t)cap * sizeof *grown);

        if (!grown)
            return -1;
        names->name = grown;
        names->cap = cap;
    }
    if (!(copy = strdup(name)))
        return -1;
    names->name[names->n] = copy;
    return names->n++;
}

typedef struct Place { char *name; int32_t was; } Place;

static int by_name(const void *a, const void *b) { return strcmp(((const Place *)a)->name, ((const Place *)b)->name); }

bool nnd_names_sort(NndNames *names, int32_t **to)
{
    Place *place = malloc(((size_t)names->n + 1) * sizeof *place);

    if (!place || !(*to = malloc(((size_t)names->n + 1) * sizeof **to))) {
        free(place);
        return false;
    }
    for (int i = 0; i < names->n; i++)
        place[i] = (Place){ names->name[i], i };
    qsort(place, (size_t)names->n, sizeof *place, by_name);
    for (int i = 0; i < names->n; i++) {
        names->name[i] = place[i].name;
        (*to)[place[i].was] = i;
    }
    free(place);
    return true;
}

int nnd_names_given(NndNames *names, const NndField *f, NndError *err)
{
    for (int i = 0; i < f->nlabel && !names->settled; i++)
        if (nnd_names_add(names, f->label[i]) != i)
            return nnd_fail(err, NND_E_DATA, "labels: `%s` stands there twice", f->label[i]);
    names->settled |= f->nlabel > 0;
    return 0;
}

void nnd_names_free(NndNames *names)
{
    for (int i = 0; i < names->n; i++)
        free(names->name[i]);
    free(names->name);
    *names = (NndNames){ 0 };
}
