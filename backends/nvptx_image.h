/* nvptx_image.h - an image whose entries are launches on a GPU. */
#ifndef NND_BACKENDS_NVPTX_IMAGE_H
#define NND_BACKENDS_NVPTX_IMAGE_H

#include <pthread.h>

#include "backends/backend.h"

/* A function of the code: a kernel of a plan that is equal to none before it. */
typedef struct NvptxItem { int plan, kernel; } NvptxItem;

/* What becomes a module of its own: so many items.  The lock is held by the thread that makes it. */
typedef struct NvptxPart { int first, n; pthread_mutex_t lock; } NvptxPart;

/* What an image points to beside image_new's, with its memory. */
typedef struct NvptxLaunches {
    Arena           mem;             /* under the lock once parts are made */
    pthread_mutex_t lock;
    Module         *m;
    BackendOptions  options;
    NndLaunch     **launch;          /* of each plan, a row a kernel */
    NndGpuEntry    *entry;
    int           **as;              /* of each kernel of each plan: the first that is equal to it, */
    bool          **shared;          /* and whether others are equal to that one */
    NvptxItem      *item;
    int             nitem, room, npart;
    NvptxPart      *work;            /* [npart], what parts are made of */
    NndGpuPart     *part;
    NndGpu          gpu;
} NvptxLaunches;

/* nvptx_launches_new - the launches of m's plans, and which kernels are which part.  options.cpu has to live as long. */
NvptxLaunches *nvptx_launches_new(Module *m, const BackendOptions *o);
void           nvptx_launches_free(NvptxLaunches *l);
void           nvptx_set_text(NvptxLaunches *l, int part, const char *text, size_t n);

/* nvptx_image - the module's image with these launches, which it takes. */
NndImage      *nvptx_image(NvptxLaunches *l);
void           nvptx_image_free(NndImage *im);

/* nvptx_assemble - the text of all parts, which are there, as code for their own sm, by ptxas, and puts it into the image.  Without a ptxas in
 * PATH, $CUDA_HOME/bin or /usr/local/cuda/bin, or one that knows no such sm, nothing is put there: the driver translates the text.  false
 * with the reason in why. */
bool           nvptx_assemble(NndImage *im, char *why, size_t nwhy);

#endif
