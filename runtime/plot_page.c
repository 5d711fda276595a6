/* plot_page.c - a page to draw on, from its opening to a PNG or SVG file, and text that fits.
 *
 * cairo keeps its first error and then does nothing, so only page_close asks how it went.
 */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <cairo-svg.h>

#include "runtime/plot_page.h"

enum {
    MAX_SIDE = 32767,        /* pixels: what an image surface of cairo can have */
    MAX_PIXELS = 1 << 27,    /* 512 MB of them */
    MAX_TEXT = 256           /* bytes */
};
#define MIN_TEXT 7.0         /* units: the smallest that can be read */

const char *nnd_plot_version(void)
{
    return "cairo " CAIRO_VERSION_STRING;
}

/* fontconfig keeps what it has read until the process ends, behind pointers that it stores as distances: the leak
 * checker of sanitized builds doesn't see that they point anywhere. */
#ifdef __SANITIZE_ADDRESS__
const char *__lsan_default_suppressions(void);
const char *__lsan_default_options(void);
const char *__lsan_default_suppressions(void) { return "leak:libfontconfig"; }
const char *__lsan_default_options(void) { return "print_suppressions=0"; }
#endif

/* ---- the file ---- */

static cairo_status_t write_bytes(void *page, const unsigned char *byte, unsigned int n)
{
    Page *p = page;

    if (fwrite(byte, 1, n, p->out.f) == n)
        return CAIRO_STATUS_SUCCESS;
    p->fault = p->fault ? p->fault : errno;
    return CAIRO_STATUS_WRITE_ERROR;
}

static bool ends_in(const char *path, const char *ending)
{
    size_t n = strlen(path), k = strlen(ending);

    return n > k && !strcasecmp(path + n - k, ending);
}

/* The surface goes first: destroying it may still write. */
static void let_go(Page *p)
{
    cairo_destroy(p->cr);
    cairo_surface_destroy(p->surface);
}

static int give_up(Page *p, cairo_status_t status, NndError *err)
{
    int code = status == CAIRO_STATUS_NO_MEMORY ? NND_E_MEMORY : NND_E_FILE;

    nnd_fail(err, code, "cannot draw %s: %s", p->out.path, cairo_status_to_string(status));
    nnd_out_drop(&p->out);
    return code;
}

/* Text is placed by its true widths: hints would move letters to whole pixels, differently in each format. */
static void prepare(Page *p)
{
    cairo_font_options_t *font = cairo_font_options_create();

    cairo_font_options_set_hint_style(font, CAIRO_HINT_STYLE_NONE);
    cairo_font_options_set_hint_metrics(font, CAIRO_HINT_METRICS_OFF);
    cairo_font_options_set_antialias(font, CAIRO_ANTIALIAS_GRAY);
    cairo_set_font_options(p->cr, font);
    cairo_font_options_destroy(font);
    if (p->is_png)
        cairo_scale(p->cr, PAGE_SCALE, PAGE_SCALE);
    page_colour(p, WHITE, 1);
    cairo_paint(p->cr);
    cairo_set_line_join(p->cr, CAIRO_LINE_JOIN_ROUND);
}

int page_open(Page *p, const char *path, double width, double height, NndError *err)
{
    double w = ceil(width * PAGE_SCALE), h = ceil(height * PAGE_SCALE);
    cairo_status_t status;
    int rc;

    *p = (Page){ .is_png = ends_in(path, ".png") };
    if (!p->is_png && !ends_in(path, ".svg"))
        return nnd_fail(err, NND_E_ARG, "%s: a picture's name wants to end in .png or .svg", path);
    if (p->is_png && (w > MAX_SIDE || h > MAX_SIDE || w * h > MAX_PIXELS))
        return nnd_fail(err, NND_E_ARG, "%s: %.0f x %.0f pixels are too many for a PNG: draw less, or an .svg",
                        path, w, h);
    if ((rc = nnd_out_open(&p->out, path, err)))
        return rc;
    if (p->is_png)
        p->surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)w, (int)h);
    else
        p->surface = cairo_svg_surface_create_for_stream(write_bytes, p, width, height);
    p->cr = cairo_create(p->surface);
    if ((status = cairo_status(p->cr))) {
        let_go(p);
        return give_up(p, status, err);
    }
    if (!p->is_png)
        cairo_svg_surface_set_document_unit(p->surface, CAIRO_SVG_UNIT_PX);
    prepare(p);
    return 0;
}

int page_close(Page *p, NndError *err)
{
    cairo_status_t status = cairo_status(p->cr);

    if (!status && p->is_png)
        status = cairo_surface_write_to_png_stream(p->surface, write_bytes, p);
    cairo_surface_finish(p->surface);              /* an SVG is written here */
    status = status ? status : cairo_surface_status(p->surface);
    let_go(p);
    if (status && !p->fault)
        return give_up(p, status, err);
    errno = p->fault;                              /* the stream remembers that a write failed, not why */
    return nnd_out_close(&p->out, err);
}

/* ---- colours and shapes ---- */

void page_colour(Page *p, int rgb, double alpha)
{
    cairo_set_source_rgba(p->cr, (rgb >> 16) / 255.0, (rgb >> 8 & 255) / 255.0, (rgb & 255) / 255.0, alpha);
}

void page_box(Page *p, double x, double y, double w, double h, double radius)
{
    cairo_new_sub_path(p->cr);
    cairo_arc(p->cr, x + w - radius, y + radius, radius, -M_PI / 2, 0);
    cairo_arc(p->cr, x + w - radius, y + h - radius, radius, 0, M_PI / 2);
    cairo_arc(p->cr, x + radius, y + h - radius, radius, M_PI / 2, M_PI);
    cairo_arc(p->cr, x + radius, y + radius, radius, M_PI, 3 * M_PI / 2);
    cairo_close_path(p->cr);
}

/* ---- text ---- */

/* Bytes of the character at s, 0 if it is none: cairo refuses surrogates, overlong forms and noncharacters, and one
 * refused string would end the page. */
static int utf8_length(const unsigned char *s)
{
    static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
    int n = s[0] < 0x80 ? 1 : s[0] < 0xC0 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : s[0] < 0xF8 ? 4 : 0;
    uint32_t c = n < 2 ? s[0] : s[0] & (0x7F >> n);

    for (int i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80)                 /* the closing 0 too */
            return 0;
        c = c << 6 | (s[i] & 0x3F);
    }
    if (n > 1 && (c < least[n] || c > 0x10FFFF || (c & 0xFFFFF800) == 0xD800 || (c >= 0xFDD0 && c <= 0xFDEF) ||
                  (c & 0xFFFE) == 0xFFFE))
        return 0;
    return n;
}

static void clean(char to[MAX_TEXT], const char *from)
{
    int used = 0;

    for (int n; from && *from; from += n ? n : 1) {
        const char *c = from;
        int k = n = utf8_length((const unsigned char *)from);

        if (n == 0)
            c = "\xEF\xBF\xBD", k = 3;
        else if ((unsigned char)*from < ' ' || *from == 0x7F)
            c = " ";
        if (used + k >= MAX_TEXT)
            break;
        memcpy(to + used, c, k);
        used += k;
    }
    to[used] = 0;
}

static double measure(Page *p, const char *text)
{
    cairo_text_extents_t e;

    cairo_text_extents(p->cr, text, &e);
    return e.x_advance;
}

/* Takes the last character off text, and leaves an ellipsis in its place. */
static bool shorten(char *text)
{
    static const char more[] = "\xE2\x80\xA6";
    size_t n = strlen(text), k = sizeof more - 1;

    if (n > k && !strcmp(text + n - k, more))
        n -= k;
    while (n > 0 && ((unsigned char)text[--n] & 0xC0) == 0x80)
        ;
    while (n > 0 && text[n - 1] == ' ')
        n--;
    if (n == 0)
        return false;
    memcpy(text + n, more, sizeof more);           /* what holds MAX_TEXT has room for it */
    return true;
}

/* Sets font and size, and makes of text what will be drawn; returns its width. */
static double fit(Page *p, const TextStyle *style, const char *text, char out[MAX_TEXT + 4])
{
    double width;

    clean(out, text);
    cairo_select_font_face(p->cr, "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL,
                           style->bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(p->cr, style->size);
    width = measure(p, out);
    if (style->room <= 0 || width <= style->room)
        return width;
    cairo_set_font_size(p->cr, fmax(fmin(MIN_TEXT, style->size), style->size * style->room / width));
    while ((width = measure(p, out)) > style->room * 1.001 && shorten(out))
        ;
    return width;
}

double page_text_width(Page *p, const TextStyle *style, const char *text)
{
    char fitted[MAX_TEXT + 4];

    return fit(p, style, text, fitted);
}

void page_text(Page *p, double x, double y, const TextStyle *style, const char *text)
{
    char fitted[MAX_TEXT + 4];
    double width = fit(p, style, text, fitted);

    page_colour(p, style->rgb, 1);
    cairo_move_to(p->cr, x - style->anchor * width, y);
    cairo_show_text(p->cr, fitted);
    cairo_new_path(p->cr);
}
