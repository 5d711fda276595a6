/* nvptx_image.h - an image whose entries are launches on a GPU. */
#ifndef NND_BACKENDS_NVPTX_IMAGE_H
#define NND_BACKENDS_NVPTX_IMAGE_H

#include "backends/backend.h"

/* What an image points to beside image_new's, with its memory. */
typedef struct NvptxLaunches {
    Arena        mem;
    NndGpuEntry *entry;
    NndGpu       gpu;
} NvptxLaunches;

NvptxLaunches *nvptx_launches_new(void);
void           nvptx_launches_free(NvptxLaunches *l);
void           nvptx_set_text(NvptxLaunches *l, const char *text, size_t n);

/* nvptx_image - m's image with these launches, which it takes. */
NndImage      *nvptx_image(const Module *m, NvptxLaunches *l);
void           nvptx_image_free(NndImage *im);

/* nvptx_assemble - the image's text as code for its own sm, by ptxas, and puts it into the image.  Without a ptxas in PATH, $CUDA_HOME/bin
 * or /usr/local/cuda/bin, or one that knows no such sm, nothing is put there: the driver translates the text.  false with the reason in why. */
bool           nvptx_assemble(NndImage *im, char *why, size_t nwhy);

#endif
