/* plot_curves.c - a panel for each metric: its values over the epochs, as a notebook would show them.
 *
 * Axes get some air on each side and ticks at 1, 2 or 5 times a power of ten; the legend lies where it hides least of
 * the curves.
 */
#include <ctype.h>
#include <math.h>
#include <string.h>

#include "runtime/plot_page.h"

/* units */
enum { WIDTH = 420, HEIGHT = 290, LEFT = 72, RIGHT = 20, ABOVE = 40, BELOW = 54, TITLE = 34, MARGIN = 8 };
enum { TICK = 4, MARK = 3, LEGEND_ROW = 20, LEGEND_LINE = 28, LEGEND_PAD = 8, LEGEND_AIR = 8 };
enum { MAX_X_TICKS = 10, MAX_Y_TICKS = 7, DENSE = 9 };       /* marks closer than DENSE are left out */

#define AIR 0.05             /* of the span, on each side */
#define LONE_AIR 0.5         /* the same above and below a single epoch, whose values would lie on the frame */

enum { TRAIN, VALID, TEST, NSERIES };
static const struct { const char *name; int rgb, split; } series_info[NSERIES] = {
    { "train", BLUE, NND_SPLIT_TRAIN }, { "valid", GREEN, NND_SPLIT_VALID }, { "test", ORANGE, NND_SPLIT_TEST },
};

typedef struct Axis { double lo, hi, step, first, last; } Axis;      /* values: first to last; with air: lo to hi */

typedef struct Panel {
    Page           *page;
    const char     *metric;
    int             which;               /* its place among the figures */
    const NndEpoch *epoch;
    int             n;
    double          x, y;                /* the frame's upper left corner; it is WIDTH by HEIGHT */
    double          factor;              /* 100 for percent */
    bool            has[NSERIES], is_empty;
    Axis            across, up;
} Panel;

/* ---- values and where they lie ---- */

static bool value_at(const Panel *p, int series, int i, double *v)
{
    const double *figure = nnd_epoch_figures(&p->epoch[i], series_info[series].split);

    if (!figure)
        return false;
    *v = p->factor * figure[p->which];
    return isfinite(*v) && fabs(*v) < 1e100;       /* beyond it, spans of values could overflow */
}

static double place_x(const Panel *p, int i)
{
    return p->x + WIDTH * ((double)p->epoch[i].epoch - p->across.lo) / (p->across.hi - p->across.lo);
}

static double place_y(const Panel *p, double v)
{
    return p->y + HEIGHT * (p->up.hi - v) / (p->up.hi - p->up.lo);
}

/* The least of 1, 2, 5, 10, ... times a power of ten that needs no more than n steps for span > 0. */
static double nice_step(double span, int n)
{
    static const double nice[] = { 1, 2, 5, 10 };
    double power = pow(10, floor(log10(span / n)));
    int i = 0;

    while (i < 3 && nice[i] * power * n < span * (1 - 1e-9))
        i++;
    return nice[i] * power;
}

static void scale_across(Panel *p)
{
    double lo = p->epoch[0].epoch, hi = lo, air;

    for (int i = 1; i < p->n; i++) {
        lo = fmin(lo, p->epoch[i].epoch);
        hi = fmax(hi, p->epoch[i].epoch);
    }
    air = hi > lo ? AIR * (hi - lo) : 1;
    p->across = (Axis){ lo - air, hi + air, hi > lo ? fmax(1, nice_step(hi - lo, MAX_X_TICKS)) : 1, lo, hi };
}

/* A curve that is flat, but for rounding, lies in the middle. */
static void scale_up(Panel *p)
{
    double lo = INFINITY, hi = -INFINITY, part = p->n > 1 ? AIR : LONE_AIR, v, most, air;

    for (int s = 0; s < NSERIES; s++)
        for (int i = 0; i < p->n; i++)
            if (value_at(p, s, i, &v)) {
                lo = fmin(lo, v);
                hi = fmax(hi, v);
            }
    p->is_empty = hi < lo;
    if (p->is_empty)
        lo = 0, hi = p->factor;
    most = fmax(fabs(lo), fabs(hi));
    air = hi - lo > fmax(1e-9 * most, 1e-100) ? part * (hi - lo) : most > 1e-100 ? AIR * most : 0.5;
    p->up = (Axis){ lo - air, hi + air, nice_step(hi - lo + 2 * air, MAX_Y_TICKS), lo, hi };
}

/* ---- frame, ticks, names ---- */

static void line_to(Panel *p, double x0, double y0, double x1, double y1, int rgb)
{
    page_colour(p->page, rgb, 1);
    cairo_set_line_width(p->page->cr, 1);
    cairo_move_to(p->page->cr, x0, y0);
    cairo_line_to(p->page->cr, x1, y1);
    cairo_stroke(p->page->cr);
}

static void tick_text(const Panel *p, double v, char *text, size_t room)
{
    double most = fmax(fabs(p->up.lo), fabs(p->up.hi));
    int decimals = (int)fmax(0, -floor(log10(p->up.step) + 1e-9));
    int digits = (int)floor(log10(most)) - (int)floor(log10(p->up.step) + 1e-9) + 1;

    if (decimals > 5 || most >= 1e6)
        snprintf(text, room, "%.*g", digits < 3 ? 3 : digits, v);
    else
        snprintf(text, room, "%.*f", decimals, v);
    if (p->factor != 1)
        strncat(text, "%", room - strlen(text) - 1);
}

static void draw_ticks_across(Panel *p)
{
    TextStyle style = { .size = 11, .rgb = INK, .anchor = 0.5 };
    const Axis *a = &p->across;
    char text[32];

    for (double k = ceil(a->lo / a->step); k * a->step <= a->hi; k++) {
        double x = round(p->x + WIDTH * (k * a->step - a->lo) / (a->hi - a->lo));

        if (k * a->step < a->first || k * a->step > a->last)
            continue;                              /* there is no epoch 0 */
        line_to(p, x, p->y, x, p->y + HEIGHT, GRID);
        line_to(p, x, p->y + HEIGHT, x, p->y + HEIGHT + TICK, INK);
        snprintf(text, sizeof text, "%.0f", k * a->step);
        page_text(p->page, x, p->y + HEIGHT + 18, &style, text);
    }
}

static void draw_ticks_up(Panel *p)
{
    TextStyle style = { .size = 11, .rgb = INK, .anchor = 1, .room = LEFT - 28 };
    const Axis *a = &p->up;
    char text[64];

    for (double k = ceil(a->lo / a->step - 1e-9); k <= a->hi / a->step + 1e-9; k++) {
        double v = k * a->step + 0.0, y = round(place_y(p, v));       /* + 0.0: no tick is called -0 */

        if (p->factor != 1 && (v > p->factor || v < 0))
            continue;                              /* air at the ends of a share */
        line_to(p, p->x, y, p->x + WIDTH, y, GRID);
        line_to(p, p->x - TICK, y, p->x, y, INK);
        tick_text(p, v, text, sizeof text);
        page_text(p->page, p->x - 8, y + 4, &style, text);
    }
}

static void draw_frame(Panel *p)
{
    TextStyle style = { .size = 14, .rgb = INK, .bold = true, .anchor = 0.5, .room = WIDTH };
    cairo_t *cr = p->page->cr;
    char name[256];

    page_colour(p->page, INK, 1);
    cairo_set_line_width(cr, 1);
    cairo_rectangle(cr, p->x, p->y, WIDTH, HEIGHT);
    cairo_stroke(cr);
    snprintf(name, sizeof name, "%s", p->metric);
    name[0] = (char)toupper((unsigned char)name[0]);
    page_text(p->page, p->x + WIDTH / 2.0, p->y - 10, &style, name);
    style.size = 12, style.bold = false;
    page_text(p->page, p->x + WIDTH / 2.0, p->y + HEIGHT + 38, &style, "epoch");
    style.room = HEIGHT;
    cairo_save(cr);
    cairo_translate(cr, p->x - LEFT + 18, p->y + HEIGHT / 2.0);
    cairo_rotate(cr, -M_PI / 2);
    page_text(p->page, 0, 0, &style, p->metric);
    cairo_restore(cr);
}

/* ---- curves ---- */

/* Circles for train, squares for test, triangles for valid: told apart without colours too. */
static void draw_mark(Panel *p, int series, double x, double y)
{
    cairo_t *cr = p->page->cr;

    cairo_new_path(cr);
    if (series == TEST) {
        cairo_rectangle(cr, x - MARK, y - MARK, 2 * MARK, 2 * MARK);
    } else if (series == VALID) {
        cairo_move_to(cr, x - MARK, y + MARK);
        cairo_line_to(cr, x + MARK, y + MARK);
        cairo_line_to(cr, x, y - MARK);
        cairo_close_path(cr);
    } else {
        cairo_arc(cr, x, y, MARK + 0.4, 0, 2 * M_PI);
    }
    cairo_fill(cr);
}

/* Gaps stay gaps: nothing is drawn from the last value before one to the first after it. */
static void draw_curve(Panel *p, int series)
{
    cairo_t *cr = p->page->cr;
    bool is_dense = p->n > 1 && WIDTH * 0.9 / (p->n - 1) < DENSE, joined = false;
    double v, other;

    page_colour(p->page, series_info[series].rgb, 1);
    cairo_set_line_width(cr, 2);
    cairo_new_path(cr);
    for (int i = 0; i < p->n; i++) {
        bool has = value_at(p, series, i, &v);

        if (has && joined)
            cairo_line_to(cr, place_x(p, i), place_y(p, v));
        else if (has)
            cairo_move_to(cr, place_x(p, i), place_y(p, v));
        joined = has;
    }
    cairo_stroke(cr);
    for (int i = 0; i < p->n; i++) {
        bool alone = (i == 0 || !value_at(p, series, i - 1, &other)) &&
                     (i == p->n - 1 || !value_at(p, series, i + 1, &other));

        if (value_at(p, series, i, &v) && (alone || !is_dense))
            draw_mark(p, series, place_x(p, i), place_y(p, v));
    }
}

/* Points of the curves, and three between each two, that a box would hide. */
static int hidden(const Panel *p, double x, double y, double w, double h)
{
    int n = 0;

    for (int s = 0; s < NSERIES; s++)
        for (int i = 0; i < p->n; i++) {
            double v, last, t, px, py;

            if (!value_at(p, s, i, &v))
                continue;
            if (i == 0 || !value_at(p, s, i - 1, &last))
                last = v;
            for (int part = 1; part <= 4; part++) {
                t = part / 4.0;
                px = i == 0 ? place_x(p, i) : place_x(p, i - 1) + t * (place_x(p, i) - place_x(p, i - 1));
                py = place_y(p, last + t * (v - last));
                n += px > x - MARK && px < x + w + MARK && py > y - MARK && py < y + h + MARK;
            }
        }
    return n;
}

static void draw_legend(Panel *p)
{
    TextStyle style = { .size = 11, .rgb = INK };
    int rows = p->has[TRAIN] + p->has[VALID] + p->has[TEST], least = -1, n;
    double w = 3 * LEGEND_PAD + LEGEND_LINE + page_text_width(p->page, &style, series_info[TRAIN].name);
    double h = rows * LEGEND_ROW + LEGEND_PAD, x = 0, y = 0;

    for (int place = 0; place < 6; place++) {      /* at the right: above, below, half way; then at the left */
        double cx = place < 3 ? p->x + WIDTH - w - LEGEND_AIR : p->x + LEGEND_AIR;
        double cy = place % 3 == 0 ? p->y + LEGEND_AIR : place % 3 == 1 ? p->y + HEIGHT - h - LEGEND_AIR :
                                                                          p->y + (HEIGHT - h) / 2;

        n = hidden(p, cx, cy, w, h);
        if (least < 0 || n < least)
            least = n, x = cx, y = cy;
    }
    page_box(p->page, x, y, w, h, 3);
    page_colour(p->page, WHITE, 0.85);
    cairo_fill_preserve(p->page->cr);
    page_colour(p->page, BORDER, 1);
    cairo_set_line_width(p->page->cr, 1);
    cairo_stroke(p->page->cr);
    for (int s = 0, at = 0; s < NSERIES; s++) {
        double row = y + LEGEND_PAD / 2.0 + (at + 0.5) * LEGEND_ROW;

        if (!p->has[s])
            continue;
        at++;
        page_colour(p->page, series_info[s].rgb, 1);
        cairo_set_line_width(p->page->cr, 2);
        cairo_move_to(p->page->cr, x + LEGEND_PAD, row);
        cairo_rel_line_to(p->page->cr, LEGEND_LINE, 0);
        cairo_stroke(p->page->cr);
        draw_mark(p, s, x + LEGEND_PAD + LEGEND_LINE / 2.0, row);
        page_text(p->page, x + 2 * LEGEND_PAD + LEGEND_LINE, row + 4, &style, series_info[s].name);
    }
}

static void draw_panel(Panel *p)
{
    cairo_t *cr = p->page->cr;

    scale_across(p);
    scale_up(p);
    draw_ticks_across(p);
    draw_ticks_up(p);
    cairo_save(cr);
    cairo_rectangle(cr, p->x, p->y, WIDTH, HEIGHT);
    cairo_clip(cr);
    for (int s = 0; s < NSERIES; s++)
        draw_curve(p, s);
    cairo_restore(cr);
    draw_frame(p);
    if (p->is_empty)
        page_text(p->page, p->x + WIDTH / 2.0, p->y + HEIGHT / 2.0,
                  &(TextStyle){ .size = 12, .rgb = GREY, .anchor = 0.5 }, "no finite values");
    else
        draw_legend(p);
}

int nnd_plot_curves(const char *path, const char *title, const char *const *metric, int nmetric,
                    const NndEpoch *epoch, int nepoch, NndError *err)
{
    int npanel = nmetric < NND_PLOT_PANELS ? nmetric : NND_PLOT_PANELS, columns = npanel < 2 ? 1 : 2;
    double cell_w = LEFT + WIDTH + RIGHT, cell_h = ABOVE + HEIGHT + BELOW, width = columns * cell_w + 2 * MARGIN;
    double top = title && *title ? TITLE : MARGIN;
    bool has[NSERIES] = { false };
    Page page;
    int rc;

    if (nmetric < 1 || nepoch < 1)
        return nnd_fail(err, NND_E_ARG, "%s: there are no %s to draw", path, nmetric < 1 ? "metrics" : "epochs");
    if ((rc = page_open(&page, path, width, top + (npanel + 1) / 2 * cell_h + MARGIN, err)))
        return rc;
    if (title && *title)                           /* in the middle of the frames */
        page_text(&page, (width + LEFT - RIGHT) / 2, 28,
                  &(TextStyle){ 17, INK, true, 0.5, width - LEFT - RIGHT }, title);
    for (int i = 0; i < nepoch * NSERIES; i++)
        has[i % NSERIES] |= nnd_epoch_figures(&epoch[i / NSERIES], series_info[i % NSERIES].split) != NULL;
    for (int i = 0; i < npanel; i++) {
        Panel p = { .page = &page, .metric = metric[i], .which = i, .epoch = epoch, .n = nepoch };

        memcpy(p.has, has, sizeof has);
        p.x = MARGIN + i % 2 * cell_w + LEFT;
        p.y = top + i / 2 * cell_h + ABOVE;
        p.factor = strcmp(metric[i], "accuracy") ? 1 : 100;
        draw_panel(&p);
    }
    return page_close(&page, err);
}
