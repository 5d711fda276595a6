/* plot_grid.c - pictures in rows, above each what a model takes it for.
 *
 * Pixels are enlarged here, by a whole number, rather than by whoever shows the file: viewers of SVG would smooth them.
 */
#include <math.h>
#include <string.h>

#include "runtime/plot_page.h"

/* units; SIDE holds 28 pixels at ten pixels of a PNG each */
enum { SIDE = 140, GAP = 24, MARGIN = 20, NAME = 22, SHARE = 16, TITLE = 34, MAX_SIDE = 32767 };

typedef struct Grid {
    Page  *page;
    int    columns, rows;
    double top, name, cell;      /* above the first row; above each picture; from row to row */
} Grid;

static int verdict(const NndPicture *pic)
{
    return !pic->truth ? INK : pic->right ? GREEN : RED;
}

/* Each pixel becomes a square of zoom x zoom. */
static void enlarge(uint8_t *to, int64_t stride, const NndPicture *pic, int64_t zoom)
{
    for (int64_t y = 0; y < pic->height * zoom; y++) {
        const uint8_t *from = pic->pixel + y / zoom * pic->width;

        for (int64_t x = 0; x < pic->width * zoom; x++) {
            uint32_t grey = from[x / zoom] * 0x010101u;

            memcpy(to + y * stride + x * 4, &grey, sizeof grey);
        }
    }
}

/* Draws the picture in the middle of its place, and a frame around it. */
static void draw_pixels(Page *p, const NndPicture *pic, double x, double y)
{
    int64_t longer = pic->height > pic->width ? pic->height : pic->width;
    int64_t zoom = longer > SIDE * PAGE_SCALE ? 1 : SIDE * PAGE_SCALE / longer;
    double scale = fmin(1.0 / PAGE_SCALE, (double)SIDE / longer);
    double w = pic->width * zoom * scale, h = pic->height * zoom * scale, line = verdict(pic) == RED ? 3 : 1;
    cairo_surface_t *image = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)(pic->width * zoom),
                                                        (int)(pic->height * zoom));

    x += floor((SIDE - w) / 2), y += floor((SIDE - h) / 2);
    if (!cairo_surface_status(image)) {
        cairo_surface_flush(image);
        enlarge(cairo_image_surface_get_data(image), cairo_image_surface_get_stride(image), pic, zoom);
        cairo_surface_mark_dirty(image);
    }
    cairo_save(p->cr);
    cairo_translate(p->cr, x, y);
    cairo_scale(p->cr, scale, scale);
    cairo_set_source_surface(p->cr, image, 0, 0);  /* an image that couldn't be had becomes the page's error */
    if (longer <= SIDE * PAGE_SCALE)
        cairo_pattern_set_filter(cairo_get_source(p->cr), CAIRO_FILTER_NEAREST);
    cairo_paint(p->cr);
    cairo_restore(p->cr);
    cairo_surface_destroy(image);
    page_colour(p, line > 1 ? RED : BORDER, 1);
    cairo_set_line_width(p->cr, line);
    cairo_rectangle(p->cr, x - line / 2, y - line / 2, w + line, h + line);
    cairo_stroke(p->cr);
}

static void draw_cell(const Grid *g, const NndPicture *pic, int i)
{
    double x = MARGIN + (double)(i % g->columns) * (SIDE + GAP), y = g->top + i / g->columns * g->cell;
    TextStyle name = { .size = 13, .rgb = verdict(pic), .bold = true, .anchor = 0.5, .room = SIDE + GAP - 8 };
    TextStyle share = { .size = 11, .rgb = GREY, .anchor = 0.5 };
    char text[512];

    if (pic->truth && !pic->right)
        snprintf(text, sizeof text, "%s (is %s)", pic->predicted, pic->truth);
    page_text(g->page, x + SIDE / 2.0, y + 14, &name, pic->truth && !pic->right ? text : pic->predicted);
    if (pic->share >= 0 && isfinite(pic->share)) {
        snprintf(text, sizeof text, "%.1f%%", 100 * pic->share);
        page_text(g->page, x + SIDE / 2.0, y + NAME + 8, &share, text);
    }
    draw_pixels(g->page, pic, x, y + g->name);
}

static int check(const char *path, const NndPicture *picture, int n, NndError *err)
{
    if (n < 1)
        return nnd_fail(err, NND_E_ARG, "%s: there are no pictures to draw", path);
    for (int i = 0; i < n; i++) {
        const NndPicture *pic = &picture[i];

        if (pic->height < 1 || pic->width < 1 || pic->height > MAX_SIDE || pic->width > MAX_SIDE)
            return nnd_fail(err, NND_E_ARG, "%s: picture %d is %lld x %lld, want 1 to %d pixels a side", path, i,
                            (long long)pic->height, (long long)pic->width, MAX_SIDE);
        if (!pic->pixel || !pic->predicted)
            return nnd_fail(err, NND_E_ARG, "%s: picture %d has no %s", path, i, pic->pixel ? "name" : "pixels");
    }
    return 0;
}

int nnd_plot_grid(const char *path, const char *title, const NndPicture *picture, int n, int columns, NndError *err)
{
    Page page;
    Grid g = { .page = &page, .top = MARGIN, .name = NAME };
    double width;
    int rc;

    if ((rc = check(path, picture, n, err)))
        return rc;
    g.columns = columns < 1 ? NND_PLOT_COLUMNS : columns;
    g.columns = g.columns < n ? g.columns : n;
    g.rows = n / g.columns + (n % g.columns != 0);
    for (int i = 0; i < n; i++)
        if (picture[i].share >= 0)
            g.name = NAME + SHARE;
    g.cell = g.name + SIDE + GAP;
    if (title && *title)
        g.top += TITLE;
    width = 2 * MARGIN + (double)g.columns * (SIDE + GAP) - GAP;
    if ((rc = page_open(&page, path, width, g.top + g.rows * g.cell - GAP + MARGIN, err)))
        return rc;
    if (title && *title)
        page_text(&page, width / 2, MARGIN + 14, &(TextStyle){ 17, INK, true, 0.5, width - 2 * MARGIN }, title);
    for (int i = 0; i < n; i++)
        draw_cell(&g, &picture[i], i);
    return page_close(&page, err);
}
