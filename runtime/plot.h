/* plot.h - pictures of a run: curves of its epochs, and rows of it with what was predicted.
 *
 * An own library, since it needs cairo and a trained model does not: programs that draw nothing don't link it.
 * The ending of a path tells the format: .png or .svg, in small or capital letters.  A picture is whole or not there
 * (nnd_out_open).  Names and titles are UTF-8; what isn't is drawn as U+FFFD, and what is too long is drawn smaller,
 * then cut.  Scripts that the font "DejaVu Sans" lacks come out as boxes.
 *
 * Built without cairo (-Dplots=disabled, or it wasn't there), both functions return NND_E_DEVICE.
 */
#ifndef NND_RUNTIME_PLOT_H
#define NND_RUNTIME_PLOT_H

#include "runtime/nnd.h"

enum { NND_PLOT_PANELS = 4, NND_PLOT_COLUMNS = 5 };

/* nnd_plot_version - "cairo 1.16.0"; NULL if built without pictures. */
const char *nnd_plot_version(void);

/* nnd_plot_curves - a panel for each metric over the epochs: train and, where they are there, valid and test.
 *
 * title    above all panels; NULL or "": none
 * metric   names of the figures in epoch[i].train and .test, loss first; the first NND_PLOT_PANELS are drawn, two in
 *          a row.  "accuracy" is drawn in percent
 * epoch    nepoch >= 1 of them; one that is cut off counts like any other
 *
 * Values that are nan or infinite (or beyond 1e100) are gaps.  Returns 0, NND_E_ARG (another ending, no metric, no
 * epoch), NND_E_FILE or NND_E_MEMORY.
 */
int nnd_plot_curves(const char *path, const char *title, const char *const *metric, int nmetric,
                    const NndEpoch *epoch, int nepoch, NndError *err);

/* One row of a data set, and what a model says of it. */
typedef struct NndPicture {
    int64_t        height, width;          /* 1 to 32767 */
    const uint8_t *pixel;                  /* [height][width], 0 black to 255 white */
    const char    *truth, *predicted;      /* truth NULL: not known, and right doesn't matter */
    bool           right;
    double         share;                  /* probability of predicted, 0 to 1; below 0 or nan: not shown */
} NndPicture;

/* nnd_plot_grid - pictures in rows, above each what was predicted.
 *
 * n         >= 1
 * columns   pictures in a row; below 1: NND_PLOT_COLUMNS
 *
 * A name is green when right; when wrong, "Shirt (is Coat)" in red and a red frame.  Pixels stay squares with sharp
 * edges.  Returns 0, NND_E_ARG (another ending, no pictures, a size out of range, more pictures than a PNG has room
 * for), NND_E_FILE or NND_E_MEMORY.
 */
int nnd_plot_grid(const char *path, const char *title, const NndPicture *picture, int n, int columns, NndError *err);

#endif
