/* png_none.c - instead of png.c without libpng: a refusal. */
#include "runtime/column.h"

const char *nnd_png_version(void) { return NULL; }

int nnd_png_read(const char *path, int planes, int64_t height, int64_t width, uint8_t *to, NndError *err)
{
    (void)planes, (void)height, (void)width, (void)to;
    return nnd_fail(err, NND_E_DEVICE, "%s: built without PNG (libpng): install libpng-dev and build again, or use PGM files", path);
}
