/* nvptx_image.c - an image whose entries are launches on a GPU, and ptxas to make code of its text. */
#include "backends/nvptx_image.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

NvptxLaunches *nvptx_launches_new(void)
{
    NvptxLaunches *l = calloc(1, sizeof *l);

    if (!l)
        abort();
    return l;
}

void nvptx_launches_free(NvptxLaunches *l)
{
    arena_free(&l->mem);
    free(l);
}

void nvptx_set_text(NvptxLaunches *l, const char *text, size_t n)
{
    char *copy = arena_array(&l->mem, char, n + 1);

    memcpy(copy, text, n);
    copy[n] = 0;
    l->gpu.ptx = copy;
    l->gpu.nptx = (int64_t)n;
}

NndImage *nvptx_image(const Module *m, NvptxLaunches *l)
{
    NndImage *im = image_new(m);

    l->gpu.entry = l->entry;
    l->gpu.nentry = im->nentry;
    im->gpu = &l->gpu;
    im->priv = l;
    return im;
}

void nvptx_image_free(NndImage *im)
{
    nvptx_launches_free(im->priv);
    image_free(im);
}

/* ---- ptxas ---- */

/* ptxas in PATH, else where CUDA is usually put; NULL: there is none. */
static const char *find_ptxas(Arena *mem)
{
    const char *path = getenv("PATH"), *home = getenv("CUDA_HOME");
    const char *places = arena_printf(mem, "%s:%s%s:/usr/local/cuda/bin", path ? path : "", home ? home : "", home ? "/bin" : "");

    for (const char *at = places, *end; *at; at = *end ? end + 1 : end) {
        const char *program;

        end = at + strcspn(at, ":");
        program = arena_printf(mem, "%.*s/ptxas", (int)(end - at), at);
        if (end > at && !access(program, X_OK))
            return program;
    }
    return NULL;
}

/* Runs it; what it prints goes to a file.  Its exit status, -1 if it could not be run. */
static int run(char *const *argv, const char *output)
{
    posix_spawn_file_actions_t files;
    pid_t pid;
    int status, failed;

    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, output, O_WRONLY | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    failed = posix_spawn(&pid, argv[0], &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    if (failed)
        return -1;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char *read_file(Arena *mem, const char *path, int64_t *n)
{
    FILE *f = fopen(path, "rb");
    char *bytes = NULL;
    long size;

    *n = 0;
    if (f && !fseek(f, 0, SEEK_END) && (size = ftell(f)) > 0 && !fseek(f, 0, SEEK_SET)) {
        bytes = arena_array(mem, char, size + 1);
        *n = (int64_t)fread(bytes, 1, (size_t)size, f);
    }
    if (f)
        fclose(f);
    return bytes;
}

static bool write_file(const char *path, const char *bytes, int64_t n)
{
    FILE *f = fopen(path, "wb");
    bool  ok = f && fwrite(bytes, 1, (size_t)n, f) == (size_t)n;

    return f && !fclose(f) && ok;
}

/* In the folder dir: the text, ptxas' code and what it says. */
static bool assemble_in(NvptxLaunches *l, const char *ptxas, const char *dir, char *why, size_t nwhy)
{
    char *text = arena_printf(&l->mem, "%s/k.ptx", dir), *code = arena_printf(&l->mem, "%s/k.cubin", dir);
    char *said = arena_printf(&l->mem, "%s/said", dir), *arch = arena_printf(&l->mem, "-arch=sm_%d", l->gpu.sm), *words;
    char *const argv[] = { (char *)ptxas, arch, "-o", code, text, NULL };
    int64_t n;
    int status;

    if (!write_file(text, l->gpu.ptx, l->gpu.nptx) || !write_file(said, "", 0)) {
        snprintf(why, nwhy, "%s: cannot be written: %s", text, strerror(errno));
        return false;
    }
    status = run(argv, said);
    words = read_file(&l->mem, said, &n);
    if (!status)
        l->gpu.cubin = read_file(&l->mem, code, &l->gpu.ncubin);
    l->gpu.cubin_sm = l->gpu.cubin ? l->gpu.sm : 0;
    unlink(text), unlink(code), unlink(said);
    /* a ptxas of another time than the sm: the driver will do it */
    if (l->gpu.cubin || (words && strstr(words, "is not defined for option 'gpu-name'")))
        return true;
    snprintf(why, nwhy, "%s failed: %.*s", ptxas, words ? (int)strcspn(words, "\n") : 0, words ? words : "");
    return false;
}

bool nvptx_assemble(NndImage *im, char *why, size_t nwhy)
{
    NvptxLaunches *l = im->priv;
    const char    *ptxas = find_ptxas(&l->mem), *tmp = getenv("TMPDIR");
    char          *dir = arena_printf(&l->mem, "%s/nnd-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    bool           ok;

    if (!ptxas)
        return true;
    if (!mkdtemp(dir)) {
        snprintf(why, nwhy, "%s: %s", dir, strerror(errno));
        return false;
    }
    ok = assemble_in(l, ptxas, dir, why, nwhy);
    rmdir(dir);
    return ok;
}
