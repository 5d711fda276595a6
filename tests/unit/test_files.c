/* test_files.c - NPY files there and back, and what happens to any file on the way. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/unit/files_rig.h"

/* ---- NPY ---- */

/* A file of version major with this header as it is, and n bytes 0 1 0 1 ... */
static Bytes npy(int major, const char *header, size_t n)
{
    size_t len = strlen(header), at = major == 1 ? 10 : 12;
    Bytes x = { .n = at + len + n };

    memcpy(x.b, "\x93NUMPY", 6);
    x.b[6] = (char)major;
    x.b[8] = (char)len;
    x.b[9] = (char)(len >> 8);
    memcpy(x.b + at, header, len);
    for (size_t i = 0; i < n; i++)
        x.b[at + len + i] = i & 1;
    return x;
}

static void npy_refused(const Place *p, Bytes x, const char *word)
{
    NndError err = { 0 };
    NndArray a;

    put(p->path, x.b, x.n);
    assert_int_equal(nnd_npy_read(p->path, &a, &err), NND_E_FORMAT);
    assert_null(a.data);
    check_sentence(&err, NND_E_FORMAT, p->path, word);
}

#define HEADER(descr, order, shape) "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }  \n"

static void test_npy_round_trip(void **state)
{
    static const int64_t dim[NND_RANK + 1] = { 2, 1, 3, 1, 1, 2, 1, 1, 1 };
    static const int count[] = { 1, 2, 2, 6, 6, 6, 12, 12, 12, 12 };
    const Place *p = *state;
    unsigned char data[12 * 8];

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = i & 1;
    for (int d = NND_F32; d <= NND_BOOL; d++)
        for (int rank = 0; rank <= NND_RANK + 1; rank++) {
            NndError err = { 0 };
            NndArray a;

            assert_int_equal(nnd_npy_write(p->path, (NndDtype)d, rank, dim, data, &err), 0);
            assert_int_equal(nnd_npy_read(p->path, &a, &err), 0);
            assert_int_equal(a.dtype, d);
            assert_int_equal(a.rank, rank);
            assert_memory_equal(a.dim, dim, (size_t)rank * sizeof *dim);
            assert_int_equal(a.nbytes, count[rank] * nnd_dtype_bytes((NndDtype)d));
            assert_memory_equal(a.data, data, (size_t)a.nbytes);
            assert_int_equal((get(p->path).n - (size_t)a.nbytes) % 64, 0);
            nnd_array_free(&a);
        }
    assert_int_equal(count_files(p, false), 1);
}

static void test_npy_written_bytes(void **state)
{
    const Place *p = *state;
    Bytes x;

    assert_int_equal(nnd_npy_write(p->path, NND_I32, 1, (int64_t[]){ 2 }, (int32_t[]){ 1, 258 }, NULL), 0);
    x = get(p->path);
    assert_int_equal(x.n, 136);
    assert_memory_equal(x.b, "\x93NUMPY\1\0\x76\0{'descr': '<i4', 'fortran_order': False, 'shape': (2,), } ", 68);
    assert_memory_equal(x.b + 127, "\n\1\0\0\0\2\1\0\0", 9);
    assert_int_equal(nnd_npy_write(p->path, NND_U8, 2, (int64_t[]){ -1, 2 }, "", NULL), NND_E_ARG);
    assert_int_equal(nnd_npy_write(p->path, NND_F64, 2, (int64_t[]){ INT64_MAX / 4, 1 }, "", NULL), NND_E_ARG);
    assert_int_equal(nnd_npy_write(p->path, NND_U8, NND_RANK + 2, (int64_t[NND_RANK + 2]){ 0 }, "", NULL), NND_E_ARG);
    assert_int_equal(get(p->path).n, 136);
    assert_int_equal(nnd_npy_write(p->path, NND_U8, 2, (int64_t[]){ 0, 3 }, NULL, NULL), 0);
    assert_int_equal(get(p->path).n, 128);
}

static void test_npy_spellings(void **state)
{
    static const char *const ok[] = {
        HEADER("'<i4'", "False", "(3,)"), HEADER("'=i4'", "False", "(3,)"), HEADER("'|u1'", "False", "(3, 4)"),
        HEADER("\"|b1\"", "False", "(12,)"), HEADER("'<f4'", "False", "(3,1,)"), HEADER("'<u1'", "False", "(12,)"),
        "{\"shape\":(3,),\"descr\":\"<i4\",\"fortran_order\":False}",
        "  { 'descr' : '<f4' , 'shape' : ( 3 , ) , 'fortran_order':False }",
    };
    const Place *p = *state;

    for (size_t i = 0; i < sizeof ok / sizeof *ok; i++)
        for (int major = 1; major <= 3; major++) {
            Bytes x = npy(major, ok[i], 12);
            NndError err = { 0 };
            NndArray a;

            put(p->path, x.b, x.n);
            if (nnd_npy_read(p->path, &a, &err))
                fail_msg("%s: %s", ok[i], err.text);
            assert_int_equal(a.nbytes, 12);
            nnd_array_free(&a);
        }
}

static void test_npy_wrong_header(void **state)
{
    static const struct { const char *header, *word; } bad[] = {
        { HEADER("'>f4'", "False", "(3,)"), "found >f4, which is big-endian" },
        { HEADER("'<f2'", "False", "(6,)"), "found <f2" },
        { HEADER("'|f4'", "False", "(3,)"), "found |f4" },
        { HEADER("'f4'", "False", "(3,)"), "found f4" },
        { HEADER("''", "False", "(3,)"), "wanted one of the dtypes" },
        { HEADER("'<U1'", "False", "(3,)"), "found <U1" },
        { HEADER("[('a', '<f4')]", "False", "(3,)"), "records" },
        { HEADER("4", "False", "(3,)"), "wanted a dtype in quotes" },
        { HEADER("'<f4'", "True", "(3, 1)"), "Fortran order" },
        { HEADER("'<f4'", "0", "(3,)"), "True or False" },
        { HEADER("'<f4'", "False", "(3)"), "comma" },
        { HEADER("'<f4'", "False", "3"), "parentheses" },
        { HEADER("'<f4'", "False", "(,)"), "a size" },
        { HEADER("'<f4'", "False", "(-3,)"), "a size" },
        { HEADER("'<f4'", "False", "(3 1)"), "`,` or `)`" },
        { HEADER("'<f4'", "False", "(3.0,)"), "`,` or `)`" },
        { HEADER("'<f4'", "False", "(1,1,1,1,1,1,1,1,1,3)"), "at most 9 axes" },
        { HEADER("'<f4'", "False", "(99999999999999999999,)"), "can be counted" },
        { HEADER("'<f4'", "False", "(4611686018427387904, 8)"), "can be counted" },
        { HEADER("'<f4'", "False", "(0, 4611686018427387904, 8)"), "can be counted" },
        { HEADER("'<f4'", "False", "(2305843009213693952,)"), "can be counted" },
        { HEADER("'<f4'", "False", "(2,)"), "wanted 8 bytes of elements" },
        { HEADER("'<f4'", "False", "(4,)"), "wanted 16 bytes of elements" },
        { HEADER("'<f4'", "False", "(1000000000, 1000000)"), "found 12" },
        { HEADER("'<f4'", "False", "(3,)") "x", "nothing but spaces" },
        { HEADER("'<f4'", "False", "(3,), 'x': 1"), "found x" },
        { HEADER("'<f4'", "False", "(3,), 'shape': (3,)"), "shape twice" },
        { "{'descr': '<f4', 'fortran_order': False}", "wanted shape" },
        { "{'descr': '<f4' 'shape': (3,)}", "`,` or `}`" },
        { "{'descr' '<f4'}", "`:`" }, { "{descr: '<f4'}", "a name in quotes" }, { "{'descr", "a name in quotes" },
        { "{", "found its end" }, { "", "wanted `{`" }, { "()", "wanted `{`" }, { "{'\\x64escr': 1}",
                                                                                  "a name in quotes" },
        { "{'a\033[2J': 1}", "found a?[2J" },
    };
    Bytes x = npy(4, bad[0].header, 12);

    npy_refused(*state, x, "found 4.0");
    x.b[6] = 1;
    x.b[7] = 1;
    npy_refused(*state, x, "found 1.1");
    x = npy(2, HEADER("'<f4'", "False", "(3,)"), 12);
    x.b[11] = 1;
    npy_refused(*state, x, "at most 65536 bytes");
    x = npy(1, HEADER("'|b1'", "False", "(12,)"), 12);
    x.b[x.n - 2] = 2;
    npy_refused(*state, x, "found 2 in element 10");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        npy_refused(*state, npy(1, bad[i].header, 12), bad[i].word);
}

static void test_npy_cut(void **state)
{
    for (int major = 1; major <= 3; major++) {
        Bytes x = npy(major, HEADER("'<i4'", "False", "(3,)"), 12);

        while (x.n--)
            npy_refused(*state, x, x.n < 10 ? "not an NPY file" : "");
    }
    for (size_t n = 0; n < 80; n++) {          /* any byte another: an error or an array, never more */
        Bytes x = npy(1, HEADER("'<i4'", "False", "(3,)"), 12);
        const Place *p = *state;
        NndArray a;

        x.b[n % x.n] ^= 0x55;
        put(p->path, x.b, x.n);
        if (!nnd_npy_read(p->path, &a, NULL))
            assert_int_equal(a.nbytes, 12);
        nnd_array_free(&a);
    }
}

/* ---- writes that fail ---- */

static void test_out_not_a_file(void **state)
{
    const Place *p = *state;
    char fifo[1024], long_path[2048];
    NndError err = { 0 };
    NndArray a;
    NndOut o;

    assert_int_equal(nnd_npy_write("/dev/full", NND_F32, 1, (int64_t[]){ 8 }, (float[8]){ 0 }, &err), NND_E_FILE);
    assert_int_equal(nnd_npy_write("/dev/null", NND_F32, 1, (int64_t[]){ 8 }, (float[8]){ 0 }, &err), 0);
    assert_int_equal(nnd_out_open(&o, "/dev/full", &err), 0);
    for (int i = 0; i < 100000; i++)                     /* fails long before the end */
        fprintf(o.f, "%d\n", i);
    assert_int_equal(nnd_out_close(&o, &err), NND_E_FILE);
    assert_string_equal(err.text, "/dev/full: cannot be written: No space left on device");
    nnd_out_drop(&o);
    assert_int_equal(nnd_out_open(&o, p->dir, &err), NND_E_FILE);
    check_sentence(&err, NND_E_FILE, p->dir, "Is a directory");
    memset(long_path, 'x', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = 0;
    assert_int_equal(nnd_out_open(&o, long_path, &err), NND_E_FILE);
    assert_non_null(strstr(err.text, "File name too long"));
    snprintf(fifo, sizeof fifo, "%s/fifo", p->dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(nnd_npy_read(fifo, &a, &err), NND_E_FILE);
    check_sentence(&err, NND_E_FILE, fifo, "not a regular file");
}

/* The old file stays, and nothing beside it, until the new one is whole; its permissions and links stay in any case. */
static void test_out_replaces(void **state)
{
    const Place *p = *state;
    NndError err = { 0 };
    char link[1024];
    struct stat st;
    NndOut o;

    put(p->path, "old", 3);
    assert_int_equal(chmod(p->path, 0640), 0);
    snprintf(link, sizeof link, "%s/link", p->dir);
    assert_int_equal(symlink("file", link), 0);
    assert_int_equal(nnd_out_open(&o, link, &err), 0);
    fputs("newer", o.f);
    assert_int_equal(get(p->path).n, 3);
    nnd_out_drop(&o);
    nnd_out_drop(&o);
    assert_int_equal(get(p->path).n, 3);
    assert_int_equal(count_files(p, false), 2);
    assert_int_equal(nnd_out_open(&o, link, &err), 0);
    fputs("newer", o.f);
    assert_int_equal(nnd_out_close(&o, &err), 0);
    nnd_out_drop(&o);
    assert_int_equal(get(p->path).n, 5);
    assert_int_equal(count_files(p, false), 2);
    assert_true(!lstat(link, &st) && S_ISLNK(st.st_mode));
    assert_true(!stat(p->path, &st) && (st.st_mode & 07777) == 0640);
}

/* Runs in a child that is nobody, or anyway not root: 0 if all is as it should be. */
static int save_where_forbidden(const Place *p)
{
    char path[1024];
    NndError err = { 0 };
    NndOut o;

    if (!geteuid() && setuid(65534))
        return 1;
    snprintf(path, sizeof path, "%s/new", p->dir);
    if (nnd_out_open(&o, path, &err) != NND_E_FILE || !strstr(err.text, "new: cannot be written: Permission denied"))
        return 2;
    return nnd_out_open(&o, p->path, &err) == NND_E_FILE && strstr(err.text, "Permission denied") ? 0 : 3;
}

/* The limit stands for a disk that becomes full. */
static int save_beyond_limit(const Place *p)
{
    static char much[100000];
    NndError err = { 0 };
    NndOut o;

    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 5000, 5000 }))
        return 1;
    if (nnd_npy_write(p->path, NND_U8, 1, (int64_t[]){ sizeof much }, much, &err) != NND_E_FILE)
        return 2;
    if (!strstr(err.text, "file: cannot be written: File too large"))
        return 3;
    if (nnd_out_open(&o, p->path, &err))
        return 4;
    for (int i = 0; i < 5010; i++)            /* fails in the last flush only, or in one before */
        fputc('x', o.f);
    return nnd_out_close(&o, &err) == NND_E_FILE && strstr(err.text, "File too large") ? 0 : 5;
}

static void in_child(int (*run)(const Place *p), const Place *p)
{
    int status;
    pid_t pid;

    put(p->path, "old", 3);
    assert_true((pid = fork()) >= 0);
    if (!pid)
        _exit(run(p));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(get(p->path).n, 3);
    assert_int_equal(count_files(p, false), 1);
}

static void test_out_forbidden(void **state)
{
    const Place *p = *state;

    assert_int_equal(chmod(p->dir, 0555), 0);
    if (geteuid()) {
        chmod(p->dir, 0755);
        put(p->path, "old", 3);
        chmod(p->dir, 0555);
        assert_int_equal(save_where_forbidden(p), 0);
        assert_int_equal(get(p->path).n, 3);
    } else {
        in_child(save_where_forbidden, p);
    }
    chmod(p->dir, 0755);
}

static void test_out_beyond_limit(void **state) { in_child(save_beyond_limit, *state); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_npy_round_trip, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_npy_written_bytes, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_npy_spellings, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_npy_wrong_header, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_npy_cut, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_out_not_a_file, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_out_replaces, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_out_forbidden, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_out_beyond_limit, make_place, drop_place),
    };

    return cmocka_run_group_tests_name("files", tests, NULL, NULL);
}
