/* in.c - files that are read at known places: opened, measured, and believed in nothing. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/in.h"

int nnd_in_open(NndIn *in, const char *path, NndError *err)
{
    struct stat st;

    /* nonblocking, so that a pipe nobody writes to is refused below and not waited for */
    *in = (NndIn){ .path = path, .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) };
    if (in->fd < 0)
        return nnd_fail(err, NND_E_FILE, "%s: cannot be read: %s", path, strerror(errno));
    if (fstat(in->fd, &st) || !S_ISREG(st.st_mode)) {
        nnd_in_close(in);
        return nnd_fail(err, NND_E_FILE, "%s: cannot be read: not a regular file", path);
    }
    in->nbytes = st.st_size;
    return 0;
}

int nnd_in_read(const NndIn *in, int64_t at, void *to, int64_t n, NndError *err)
{
    int64_t got = 0;

    if (at < 0 || n < 0 || at > in->nbytes || n > in->nbytes - at)
        return nnd_fail(err, NND_E_FORMAT, "%s: wanted %lld bytes from byte %lld on, found a file of %lld", in->path,
                        (long long)n, (long long)at, (long long)in->nbytes);
    if (in->memory) {
        memcpy(to, in->memory + at, (size_t)n);
        return 0;
    }
    while (got < n) {
        ssize_t r = pread(in->fd, (char *)to + got, (size_t)(n - got), at + got);

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return nnd_fail(err, NND_E_FILE, "%s: cannot be read: %s", in->path, strerror(errno));
        if (!r)
            return nnd_fail(err, NND_E_FORMAT, "%s: became shorter while it was read: wanted %lld bytes, found %lld",
                            in->path, (long long)in->nbytes, (long long)(at + got));
        got += r;
    }
    return 0;
}

char *nnd_in_whole(const char *path, int64_t *n, NndError *err)
{
    NndIn in;
    char *text;

    if (nnd_in_open(&in, path, err))
        return NULL;
    *n = in.nbytes;
    if (!(text = malloc((size_t)in.nbytes + 1)))
        nnd_fail(err, NND_E_MEMORY, "%s: out of memory for %lld bytes", path, (long long)in.nbytes);
    if (text && nnd_in_read(&in, 0, text, in.nbytes, err)) {
        free(text);
        text = NULL;
    }
    nnd_in_close(&in);
    if (text)
        text[*n] = 0;
    return text;
}

void nnd_in_close(NndIn *in)
{
    if (in->fd >= 0)
        close(in->fd);
    in->fd = -1;
}

int64_t nnd_in_count(int rank, const int64_t *dim)
{
    int64_t n = 1;
    bool none = false;

    /* an axis of 0 doesn't excuse the others: who multiplies only some of them must not overflow */
    for (int i = 0; i < rank; i++) {
        none |= !dim[i];
        n = nnd_mul(n, dim[i] ? dim[i] : 1);
    }
    return n > 0 && none ? 0 : n;
}

bool nnd_in_bools(const void *data, int64_t n, int64_t *bad)
{
    const unsigned char *b = data;

    for (*bad = 0; *bad < n; ++*bad)
        if (b[*bad] > 1)
            return false;
    return true;
}

const char *nnd_in_text(char *to, size_t size, const char *from, size_t n)
{
    size_t room = size - 1, len = n < room ? n : room;

    for (size_t i = 0; i < len; i++)
        to[i] = from[i] >= ' ' && from[i] <= '~' ? from[i] : '?';
    to[len] = 0;
    if (n > room && room >= 3)
        memcpy(to + room - 3, "...", 3);
    return to;
}
