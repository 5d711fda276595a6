/* png.c - PNG files by libpng: 8 bits a colour, grey or colour as the field asks. */
#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/column.h"

const char *nnd_png_version(void) { return PNG_LIBPNG_VER_STRING; }

static int check_kind(const png_image *im, const char *path, int planes, int64_t height, int64_t width, NndError *err)
{
    bool colour = im->format & PNG_FORMAT_FLAG_COLOR;

    if (im->format & (PNG_FORMAT_FLAG_ALPHA | PNG_FORMAT_FLAG_LINEAR))
        return nnd_fail(err, NND_E_FORMAT, "%s: wanted 8 bits a colour and no transparency, found %s", path,
                        im->format & PNG_FORMAT_FLAG_LINEAR ? "16 bits" : "transparency");
    if (colour != (planes == 3))
        return nnd_fail(err, NND_E_FORMAT, "%s: wanted an image %s, found one %s", path, planes == 3 ? "in colour" : "in grey",
                        colour ? "in colour" : "in grey");
    if (im->height != height || im->width != width)
        return nnd_fail(err, NND_E_FORMAT, "%s: wanted an image of %lld x %lld, found %lld x %lld", path, (long long)height,
                        (long long)width, (long long)im->height, (long long)im->width);
    return 0;
}

/* Pixels of three bytes to three planes. */
static void part_planes(const uint8_t *from, int64_t n, uint8_t *to)
{
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < 3; k++)
            to[k * n + i] = from[3 * i + k];
}

int nnd_png_read(const char *path, int planes, int64_t height, int64_t width, uint8_t *to, NndError *err)
{
    png_image im = { .version = PNG_IMAGE_VERSION };
    int64_t n = height * width;
    uint8_t *pixel = NULL;
    int rc;

    if (!png_image_begin_read_from_file(&im, path))
        return nnd_fail(err, NND_E_FORMAT, "%s: not a PNG file that can be read: %s", path, im.message);
    rc = check_kind(&im, path, planes, height, width, err);
    im.format = planes == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
    if (!rc && !(pixel = malloc((size_t)(n * planes))))
        rc = nnd_fail(err, NND_E_MEMORY, "%s: out of memory for its pixels", path);
    if (!rc && !png_image_finish_read(&im, NULL, pixel, 0, NULL))
        rc = nnd_fail(err, NND_E_FORMAT, "%s: damaged: %s", path, im.message);
    if (!rc && planes == 3)
        part_planes(pixel, n, to);
    else if (!rc)
        memcpy(to, pixel, (size_t)n);
    free(pixel);
    png_image_free(&im);
    return rc;
}
