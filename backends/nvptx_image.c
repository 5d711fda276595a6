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

NndImage *nvptx_image(NvptxLaunches *l)
{
    NndImage *im = image_new(l->m);

    l->gpu.part = l->part;
    l->gpu.npart = l->npart;
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

/* Starts it; what it prints goes to a file.  false: it could not be run. */
static bool start(pid_t *pid, char *const *argv, const char *output)
{
    posix_spawn_file_actions_t files;
    int failed;

    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, output, O_WRONLY | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    failed = posix_spawn(pid, argv[0], &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    return !failed;
}

static int exit_status(pid_t pid)
{
    int status;

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

/* A part at ptxas: its files, and the process. */
typedef struct Job { char *text, *code, *said; pid_t pid; bool started; } Job;

static bool begin_job(NvptxLaunches *l, int part, const char *ptxas, const char *dir, Job *j, char *why, size_t nwhy)
{
    char *arch = arena_printf(&l->mem, "-arch=sm_%d", l->gpu.sm);

    j->text = arena_printf(&l->mem, "%s/%d.ptx", dir, part);
    j->code = arena_printf(&l->mem, "%s/%d.cubin", dir, part);
    j->said = arena_printf(&l->mem, "%s/%d.said", dir, part);
    if (!write_file(j->text, l->part[part].ptx, l->part[part].nptx) || !write_file(j->said, "", 0)) {
        snprintf(why, nwhy, "%s: cannot be written: %s", j->text, strerror(errno));
        unlink(j->text), unlink(j->said);
        return false;
    }
    j->started = start(&j->pid, (char *[]){ (char *)ptxas, arch, "-o", j->code, j->text, NULL }, j->said);
    return true;
}

/* Its code, and what it has said if there is none. */
static bool end_job(NvptxLaunches *l, int part, const char *ptxas, Job *j, char *why, size_t nwhy)
{
    NndGpuPart *to = &l->part[part];
    char *words;
    int64_t n;

    if (j->started && !exit_status(j->pid))
        to->cubin = read_file(&l->mem, j->code, &to->ncubin);
    words = read_file(&l->mem, j->said, &n);
    unlink(j->text), unlink(j->code), unlink(j->said);
    /* a ptxas of another time than the sm: the driver will do it */
    if (to->cubin || (words && strstr(words, "is not defined for option 'gpu-name'")))
        return true;
    snprintf(why, nwhy, "%s failed: %.*s", ptxas, words ? (int)strcspn(words, "\n") : 0, words ? words : "");
    return false;
}

/* In the folder dir, as many at a time as there are processors; all that are begun are ended. */
static bool assemble_in(NvptxLaunches *l, const char *ptxas, const char *dir, char *why, size_t nwhy)
{
    Job *job = arena_array(&l->mem, Job, l->npart);
    long most = sysconf(_SC_NPROCESSORS_ONLN);
    bool ok = true;
    int begun = 0;

    l->gpu.cubin_sm = l->gpu.sm;
    for (int done = 0; done < begun || (ok && begun < l->npart); done++) {
        while (ok && begun < l->npart && (begun == done || begun - done < most)) {
            ok = begin_job(l, begun, ptxas, dir, &job[begun], why, nwhy);
            begun += ok;
        }
        if (done < begun)
            ok = end_job(l, done, ptxas, &job[done], why, nwhy) && ok;
    }
    return ok;
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
