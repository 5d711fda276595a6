/* plot_none.c - what stands for pictures in a build without cairo: a refusal that says so. */
#include "runtime/plot.h"

const char *nnd_plot_version(void)
{
    return NULL;
}

static int refuse(const char *path, NndError *err)
{
    return nnd_fail(err, NND_E_DEVICE, "built without pictures (cairo): %s is not written; install libcairo2-dev, "
                    "then meson setup --reconfigure -Dplots=enabled and build again", path);
}

int nnd_plot_curves(const char *path, const char *title, const char *const *metric, int nmetric,
                    const NndEpoch *epoch, int nepoch, NndError *err)
{
    (void)title, (void)metric, (void)nmetric, (void)epoch, (void)nepoch;
    return refuse(path, err);
}

int nnd_plot_grid(const char *path, const char *title, const NndPicture *picture, int n, int columns, NndError *err)
{
    (void)title, (void)picture, (void)n, (void)columns;
    return refuse(path, err);
}
