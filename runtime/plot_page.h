/* plot_page.h - what curves and grids are drawn on: a white page that becomes a PNG or an SVG file.
 *
 * Lengths are in units: 1/96 inch in SVG, PAGE_SCALE pixels of a PNG.  A line one unit wide at whole units is sharp.
 */
#ifndef NND_RUNTIME_PLOT_PAGE_H
#define NND_RUNTIME_PLOT_PAGE_H

#include <cairo.h>

#include "runtime/plot.h"

enum { PAGE_SCALE = 2 };

/* 0xRRGGBB: text and frames, faint things, and the two colours that every matplotlib figure begins with */
enum { INK = 0x262626, GREY = 0x6e6e6e, BORDER = 0xcccccc, GRID = 0xe6e6e6, WHITE = 0xffffff,
       BLUE = 0x1f77b4, ORANGE = 0xff7f0e, GREEN = 0x1a7f37, RED = 0xcf222e };

/* Does not move while open: cairo writes through its address. */
typedef struct Page {
    NndOut           out;
    cairo_surface_t *surface;
    cairo_t         *cr;
    bool             is_png;
    int              fault;      /* errno of the first write that failed */
} Page;

typedef struct TextStyle {
    double size;
    int    rgb;
    bool   bold;
    double anchor;               /* the part of the text that lies left of its place: 0, 0.5, 1 */
    double room;                 /* longer text shrinks to MIN_TEXT, then loses its end; 0: as long as it likes */
} TextStyle;

/* page_open - NND_E_ARG (another ending, too large for a PNG), NND_E_FILE, NND_E_MEMORY: then nothing is open. */
int  page_open(Page *p, const char *path, double width, double height, NndError *err);
/* page_close - writes the file; NND_E_FILE, NND_E_MEMORY: then the old file is still there. */
int  page_close(Page *p, NndError *err);

void page_colour(Page *p, int rgb, double alpha);
/* page_text - on the base line y. */
void page_text(Page *p, double x, double y, const TextStyle *style, const char *text);
/* page_text_width - of text as it would be drawn. */
double page_text_width(Page *p, const TextStyle *style, const char *text);
/* page_box - the path of a rectangle with round corners. */
void page_box(Page *p, double x, double y, double w, double h, double radius);

#endif
