/* in.h - files that are read at known places: opened, measured, and believed in nothing. */
#ifndef NND_RUNTIME_IN_H
#define NND_RUNTIME_IN_H

#include "runtime/nnd.h"

/* memory: the bytes themselves, where there is no file (fd -1); NULL: they are in the file */
typedef struct NndIn { int fd; const char *path; int64_t nbytes; const char *memory; } NndIn;

/* nnd_in_open - opens a regular file; path is kept until it is closed.  NND_E_FILE.
 * nnd_in_read - all n bytes from byte at on; both may come from the file.  NND_E_FILE, NND_E_FORMAT. */
int  nnd_in_open(NndIn *in, const char *path, NndError *err);
int  nnd_in_read(const NndIn *in, int64_t at, void *to, int64_t n, NndError *err);
void nnd_in_close(NndIn *in);
/* nnd_in_whole - opens it and gives all of its bytes and a zero behind them, for free(); NULL with err. */
char *nnd_in_whole(const char *path, int64_t *n, NndError *err);

/* nnd_npy_read_in - nnd_npy_read of what is open already; nnd_npy_rows - the first axis, from the header alone; -1. */
int     nnd_npy_read_in(const NndIn *in, NndArray *out, NndError *err);
int64_t nnd_npy_rows(const char *path, NndError *err);

/* nnd_in_count - elements of a shape; -1 if they can't be counted, even where another axis is 0. */
int64_t nnd_in_count(int rank, const int64_t *dim);
/* nnd_in_bools - are all n bytes 0 or 1?  Else the first that isn't goes to *bad. */
bool nnd_in_bools(const void *data, int64_t n, int64_t *bad);
/* nnd_in_text - n bytes of a file as a message may show them: printable, cut to size, "..." if more; returns to. */
const char *nnd_in_text(char *to, size_t size, const char *from, size_t n);

#endif
