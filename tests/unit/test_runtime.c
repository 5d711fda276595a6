/* test_runtime.c - the runtime with files made here and an image whose entries are C functions. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <zlib.h>

#include "ir/philox.h"
#include "runtime/nnd.h"

/* ---- folders and files ---- */

static char *path_of(const char *dir, const char *name)
{
    size_t n = strlen(dir) + strlen(name) + 2;
    char *p = malloc(n);

    assert_non_null(p);
    snprintf(p, n, "%s/%s", dir, name);
    return p;
}

static int make_dir(void **state)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = path_of(tmp ? tmp : "/tmp", "nnd-runtime-XXXXXX");

    unsetenv("NND_DATA");
    *state = mkdtemp(dir);
    return *state ? 0 : -1;
}

static void remove_tree(const char *dir)
{
    DIR *d = opendir(dir);

    for (struct dirent *e; d && (e = readdir(d));) {
        char *p = path_of(dir, e->d_name);

        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && unlink(p))
            remove_tree(p);
        free(p);
    }
    if (d)
        closedir(d);
    rmdir(dir);
}

static int drop_dir(void **state)
{
    remove_tree(*state);
    free(*state);
    return 0;
}

static void write_file(const char *dir, const char *name, const void *bytes, size_t n)
{
    char *path = path_of(dir, name);
    size_t len = strlen(path);

    if (len > 3 && !strcmp(path + len - 3, ".gz")) {
        gzFile f = gzopen(path, "wb");

        assert_int_equal(gzwrite(f, bytes, (unsigned)n), n);
        gzclose(f);
    } else {
        FILE *f = fopen(path, "wb");

        assert_non_null(f);
        assert_int_equal(fwrite(bytes, 1, n, f), n);
        fclose(f);
    }
    free(path);
}

typedef struct Bytes { unsigned char b[4096]; size_t n; } Bytes;

static void put_size(Bytes *to, uint32_t x)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        to->b[to->n++] = (unsigned char)(x >> shift);
}

/* A header of nrow rows of rank - 1 axes of 2, and nbytes of content: 0 1 2 ... 9 0 1 ... */
static Bytes idx(int dtype, int rank, uint32_t nrow, size_t nbytes)
{
    Bytes to = { .n = 0 };

    put_size(&to, (uint32_t)(dtype << 8 | rank));
    put_size(&to, nrow);
    for (int i = 1; i < rank; i++)
        put_size(&to, 2);
    for (size_t i = 0; i < nbytes; i++)
        to.b[to.n++] = (unsigned char)(i % 10);
    return to;
}

static void write_idx(const char *dir, const char *name, Bytes b) { write_file(dir, name, b.b, b.n); }

static const NndField pairs = { .name = "image", .dtype = NND_U8, .rank = 1, .dim = { 2 } };

/* ---- IDX ---- */

static void test_idx_plain_and_packed(void **state)
{
    static const char *const name[] = { "a", "a.gz" };

    for (int i = 0; i < 2; i++) {
        char *path = path_of(*state, name[i]);
        NndError err = { 0 };
        NndArray a;

        write_idx(*state, name[i], idx(8, 2, 5, 10));
        assert_int_equal(nnd_idx_read(path, &pairs, &a, &err), 0);
        assert_int_equal(a.dtype, NND_U8);
        assert_int_equal(a.rank, 2);
        assert_int_equal(a.dim[0], 5);
        assert_int_equal(a.dim[1], 2);
        assert_int_equal(a.nbytes, 10);
        for (int b = 0; b < 10; b++)
            assert_int_equal(((unsigned char *)a.data)[b], b);
        nnd_array_free(&a);
        free(path);
    }
}

static void test_idx_wider_numbers(void **state)
{
    static const unsigned char ints[] = { 0, 0, 0x0C, 1, 0, 0, 0, 2, 0, 0, 1, 2, 0xFF, 0xFF, 0xFF, 0xFE };
    static const unsigned char floats[] = { 0, 0, 0x0D, 1, 0, 0, 0, 2, 0x3F, 0xC0, 0, 0, 0xC0, 0, 0, 0 };
    NndField f = { .name = "x", .dtype = NND_I32 };
    char *path = path_of(*state, "n");
    NndArray a;

    write_file(*state, "n", ints, sizeof ints);
    assert_int_equal(nnd_idx_read(path, &f, &a, NULL), 0);
    assert_int_equal(((int32_t *)a.data)[0], 258);
    assert_int_equal(((int32_t *)a.data)[1], -2);
    nnd_array_free(&a);

    write_file(*state, "n", floats, sizeof floats);
    f.dtype = NND_F32;
    assert_int_equal(nnd_idx_read(path, &f, &a, NULL), 0);
    assert_true(((float *)a.data)[0] == 1.5f && ((float *)a.data)[1] == -2);
    nnd_array_free(&a);
    f.dtype = NND_F64;
    assert_int_equal(nnd_idx_read(path, &f, &a, NULL), 0);
    assert_int_equal(a.dtype, NND_F64);
    assert_int_equal(a.nbytes, 16);
    assert_true(((double *)a.data)[0] == 1.5 && ((double *)a.data)[1] == -2);
    nnd_array_free(&a);
    free(path);
}

/* Reading name as a column of f is refused; the sentence names the file and says all the words. */
static void refused(const char *dir, const char *name, const NndField *f, int code, const char *word, const char *other)
{
    char *path = path_of(dir, name);
    NndError err = { 0 };
    NndArray a;

    assert_int_equal(nnd_idx_read(path, f, &a, &err), code);
    assert_int_equal(err.code, code);
    assert_null(a.data);
    if (strncmp(err.text, path, strlen(path)) || !strstr(err.text, word) || !strstr(err.text, other))
        fail_msg("wanted \"%s\" and \"%s\" after the file's name in: %s", word, other, err.text);
    free(path);
}

static void test_idx_wrong_header(void **state)
{
    const char *dir = *state;

    refused(dir, "absent", &pairs, NND_E_FILE, "No such file", "");
    refused(dir, ".", &pairs, NND_E_FILE, "not a regular file", "");
    write_file(dir, "empty", "", 0);
    refused(dir, "empty", &pairs, NND_E_FORMAT, "not an IDX file", "found 0");
    write_file(dir, "zip", "PK\3\4 nothing", 12);
    refused(dir, "zip", &pairs, NND_E_FORMAT, "not an IDX file", "50 4b 03 04");
    write_idx(dir, "code", idx(7, 2, 5, 10));
    refused(dir, "code", &pairs, NND_E_FORMAT, "not an IDX file", "00 00 07 02");
    write_idx(dir, "i16", idx(0x0B, 2, 5, 20));
    refused(dir, "i16", &pairs, NND_E_FORMAT, "wanted u8 for field image", "found i16");
    write_idx(dir, "f32", idx(0x0D, 2, 5, 40));
    refused(dir, "f32", &pairs, NND_E_FORMAT, "wanted u8 for field image", "found f32");
    write_idx(dir, "rank", idx(8, 1, 5, 5));
    refused(dir, "rank", &pairs, NND_E_FORMAT, "wanted 2 axes", "found 1");
    write_idx(dir, "rank", idx(8, 255, 5, 5));
    refused(dir, "rank", &pairs, NND_E_FORMAT, "wanted 2 axes", "found 255");
    write_idx(dir, "rows", idx(8, 3, 5, 20));
    refused(dir, "rows", &(NndField){ .name = "x", .dtype = NND_U8, .rank = 2, .dim = { 2, 3 } }, NND_E_FORMAT,
            "wanted rows of 2 x 3 for field x", "found 2 x 2");
    write_file(dir, "short", "\0\0\10\2\0\0\0", 7);
    refused(dir, "short", &pairs, NND_E_FORMAT, "ends within its header", "");
}

static void test_idx_wrong_length(void **state)
{
    static const char *const name[] = { "x", "x.gz" };
    const char *dir = *state;

    for (int i = 0; i < 2; i++) {
        write_idx(dir, name[i], idx(8, 2, 5, 9));
        refused(dir, name[i], &pairs, NND_E_FORMAT, "wanted 10 bytes, as its header promises 5 rows", "found 9");
        write_idx(dir, name[i], idx(8, 2, 5, 11));
        refused(dir, name[i], &pairs, NND_E_FORMAT, "wanted 10 bytes, as its header promises 5 rows",
                i ? "found more" : "found 11");
        write_idx(dir, name[i], idx(8, 2, 0, 0));
        refused(dir, name[i], &pairs, NND_E_FORMAT, "wanted 1 to", "promises 0");
        write_idx(dir, name[i], idx(8, 2, UINT32_MAX, 100));
        refused(dir, name[i], &pairs, NND_E_FORMAT, "wanted 1 to", "promises 4294967295");
        write_idx(dir, name[i], idx(8, 2, INT32_MAX, 100));      /* 4 GB, if it were believed */
        refused(dir, name[i], &pairs, NND_E_FORMAT, "wanted 4294967294 bytes",
                i ? "can't unpack to more than" : "found 100");
        /* few enough rows that a packed file might hold them */
        write_idx(dir, name[i], idx(8, 2, 20000, 3000));
        refused(dir, name[i], &pairs, NND_E_FORMAT, "wanted 40000 bytes, as its header promises 20000 rows",
                "found 3000");
    }
}

/* Sizes whose product leaves 63 bits are refused, even of a field that declares them. */
static void test_idx_sizes_overflow(void **state)
{
    NndField big = { .name = "x", .dtype = NND_U8, .rank = 3, .dim = { UINT32_MAX, UINT32_MAX, 2 } };
    Bytes b = { .n = 0 };

    put_size(&b, 0x0804);
    put_size(&b, 7);
    put_size(&b, UINT32_MAX);
    put_size(&b, UINT32_MAX);
    put_size(&b, 2);
    write_idx(*state, "big", b);
    refused(*state, "big", &big, NND_E_FORMAT, "promises more bytes than can be counted", "");
}

static void test_idx_damaged_gz(void **state)
{
    Bytes b = idx(8, 2, 1500, 3000), packed;
    char *path = path_of(*state, "x.gz");
    FILE *f;

    for (size_t i = 16; i < b.n; i++)      /* so that it packs badly, and a cut lies within the elements */
        b.b[i] = (unsigned char)philox(1, 2, 3, i);
    write_idx(*state, "x.gz", b);
    assert_non_null(f = fopen(path, "rb"));
    packed.n = fread(packed.b, 1, sizeof packed.b, f);
    fclose(f);
    for (size_t cut = 1; cut < 9; cut += 7) {      /* within the check sum and after it */
        write_file(*state, "cut", packed.b, packed.n - cut);
        refused(*state, "cut", &pairs, NND_E_FORMAT, "damaged: its last bytes are cut off", "");
    }
    write_file(*state, "cut", packed.b, packed.n / 2);
    refused(*state, "cut", &pairs, NND_E_FORMAT, "wanted 3000 bytes", "a packed stream that is cut off after ");
    write_file(*state, "cut", packed.b, 12);
    refused(*state, "cut", &pairs, NND_E_FORMAT, "not an IDX file", "");
    packed.b[packed.n - 6] ^= 1;                   /* of the check sum */
    write_file(*state, "cut", packed.b, packed.n);
    refused(*state, "cut", &pairs, NND_E_FORMAT, "damaged: incorrect data check", "");
    free(path);
}

/* ---- data sets ---- */

static const NndField digits[] = {
    { .name = "image", .dtype = NND_U8, .rank = 1, .dim = { 2 },
      .source = { { .format = NND_IDX, .file = "train-images-idx3-ubyte" },
                  { .format = NND_IDX, .file = "t10k-images-idx3-ubyte" } } },
    { .name = "label", .dtype = NND_U8, .bound = 10,
      .source = { { .format = NND_IDX, .file = "train-labels-idx1-ubyte" },
                  { .format = NND_IDX, .file = "t10k-labels-idx1-ubyte" } } },
};

static void write_data_set(const char *dir, bool dotted, bool packed)
{
    for (int i = 0; i < 2; i++)
        for (int split = 0; split < 2; split++) {
            char name[64];
            uint32_t n = split ? 4 : 7;

            snprintf(name, sizeof name, "%s%s", digits[i].source[split].file, packed ? ".gz" : "");
            if (dotted)
                *strstr(name, "-idx") = '.';
            write_idx(dir, name, i ? idx(8, 1, n, n) : idx(8, 2, n, 2 * n));
        }
}

static char *new_folder(const char *dir, const char *name)
{
    char *sub = path_of(dir, name);

    assert_int_equal(mkdir(sub, 0700), 0);
    return sub;
}

static void check_open(const char *dir, const char *model_dir, const char *where)
{
    NndError err = { 0 };
    NndData d;

    if (nnd_data_open(&d, digits, 2, dir, model_dir, &err))
        fail_msg("%s", err.text);
    assert_int_equal(d.nrow[NND_SPLIT_TRAIN], 7);
    assert_int_equal(d.nrow[NND_SPLIT_TEST], 4);
    assert_string_equal(d.directory, where);
    assert_int_equal(((const uint8_t *)d.field[NND_SPLIT_TRAIN][0])[9], 9);
    assert_int_equal(((const uint8_t *)d.field[NND_SPLIT_TEST][1])[3], 3);
    nnd_data_close(&d);
    nnd_data_close(&d);
}

static void data_refused(const char *dir, const char *model_dir, int code, const char *word, const char *other)
{
    NndError err = { 0 };
    NndData d;

    assert_int_equal(nnd_data_open(&d, digits, 2, dir, model_dir, &err), code);
    if (!strstr(err.text, word) || !strstr(err.text, other))
        fail_msg("wanted \"%s\" and \"%s\" in: %s", word, other, err.text);
    assert_null(d.column[0]);
}

static void test_data_spellings(void **state)
{
    for (int i = 0; i < 4; i++) {
        char name[2] = { (char)('a' + i), 0 }, *sub = new_folder(*state, name);

        write_data_set(sub, i & 1, i & 2);
        check_open(sub, NULL, sub);
        free(sub);
    }
}

static void test_data_places(void **state)
{
    char *env = new_folder(*state, "env"), *model = new_folder(*state, "model"), *given = new_folder(*state, "given");
    char *below = new_folder(env, "below"), *second = new_folder(env, "second"), *hidden = new_folder(model, "hidden");

    write_data_set(given, false, false);
    write_data_set(model, false, false);
    check_open(given, model, given);
    check_open(NULL, model, model);
    setenv("NND_DATA", env, 1);
    check_open(NULL, model, model);               /* nothing in env yet */
    write_data_set(below, false, false);
    check_open(NULL, model, below);
    check_open(env, model, below);
    write_data_set(second, true, true);
    data_refused(env, model, NND_E_DATA, below, second);
    write_data_set(env, false, true);
    check_open(NULL, model, env);                 /* its own files come before those of folders in it */
    data_refused(hidden, model, NND_E_FILE, "train-images-idx3-ubyte: not found", hidden);
    free(env);
    free(model);
    free(given);
    free(below);
    free(second);
    free(hidden);
}

static void test_data_missing(void **state)
{
    const char *dir = *state;
    NndField odd[] = { digits[0], digits[1] };
    char *env = path_of(dir, "env");
    NndError err = { 0 };
    NndData d;

    odd[0].source[0].file = odd[0].source[1].file = "nothing-idx9-ubyte";
    setenv("NND_DATA", env, 1);
    assert_int_equal(nnd_data_open(&d, odd, 2, NULL, "some/model", &err), NND_E_FILE);
    assert_non_null(strstr(err.text, "nothing-idx9-ubyte: not found (nor with .gz) in "));
    assert_non_null(strstr(err.text, env));
    assert_non_null(strstr(err.text, "some/model"));
    assert_non_null(strstr(err.text, "/usr/share/datasets/fashion-mnist"));
    free(env);

    odd[0] = digits[0];
    odd[1].source[NND_SPLIT_TEST].format = NND_ABSENT;
    write_data_set(dir, false, false);
    assert_int_equal(nnd_data_open(&d, odd, 2, dir, NULL, &err), NND_E_DATA);
    assert_non_null(strstr(err.text, "the test split has a file for field image, but none for label"));
}

/* Half a data set in one place is not completed with another one's files. */
static void test_data_never_mixed(void **state)
{
    char *env = new_folder(*state, "env"), *model = new_folder(*state, "model");

    write_data_set(model, false, false);
    write_idx(env, digits[0].source[0].file, idx(8, 2, 7, 14));
    setenv("NND_DATA", env, 1);
    data_refused(NULL, model, NND_E_FILE, "train-labels-idx1-ubyte: not found", env);
    free(env);
    free(model);
}

static void test_data_misfits(void **state)
{
    const char *dir = *state;
    Bytes b = idx(8, 1, 7, 7);

    write_data_set(dir, false, false);
    write_idx(dir, digits[1].source[0].file, idx(8, 1, 6, 6));
    data_refused(dir, NULL, NND_E_DATA, "train-labels-idx1-ubyte: wanted 7 rows, as field image has in the train split",
                 "found 6");
    b.b[8 + 5] = 10;
    write_idx(dir, digits[1].source[0].file, b);
    data_refused(dir, NULL, NND_E_DATA, "wanted label in 0..9", "found 10 in row 5");
}

/* ---- what has to be compiled ---- */

static void test_eval_batch(void **state)
{
    static const struct { int64_t n, batch, rest; } want[] = {
        { 1, 1, 0 }, { 17, 17, 0 }, { 1024, 1024, 0 }, { 1025, 205, 0 }, { 1031, 1024, 7 }, { 2047, 89, 0 },
        { 2062, 1024, 14 },
        { 10000, 400, 0 }, { 60000, 800, 0 }, { 3000, 1000, 0 }, { 64 * 1031, 64, 0 }, { 63 * 1031, 1024, 63 * 1031 % 1024 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        int64_t rest;

        assert_int_equal(nnd_eval_batch(want[i].n, &rest), want[i].batch);
        assert_int_equal(rest, want[i].rest);
    }
}

static void check_wanted(int64_t batch, int64_t train, int64_t test, int64_t valid, int n, const NndWant *want)
{
    int64_t nrow[NND_NSPLIT] = { train, test, valid };
    NndWant got[NND_MAX_WANT];
    NndError err;
    int m;

    assert_int_equal(nnd_entries_wanted(batch, nrow, got, &m, &err), 0);
    assert_int_equal(m, n);
    for (int i = 0; i < n; i++)
        assert_true(got[i].kind == want[i].kind && got[i].batch == want[i].batch);
}

static void test_entries_wanted(void **state)
{
    NndWant got[NND_MAX_WANT];
    NndError err;
    int n;

    (void)state;
    check_wanted(64, 60000, 10000, 0, 4,
                 (NndWant[]){ { NND_INIT, 0 }, { NND_TRAIN, 64 }, { NND_TRAIN, 32 }, { NND_EVAL, 400 } });
    check_wanted(50, 100, 1031, 0, 4,
                 (NndWant[]){ { NND_INIT, 0 }, { NND_TRAIN, 50 }, { NND_EVAL, 1024 }, { NND_EVAL, 7 } });
    check_wanted(10, 10, 0, 0, 2, (NndWant[]){ { NND_INIT, 0 }, { NND_TRAIN, 10 } });
    check_wanted(10, 10, 20, 20, 3, (NndWant[]){ { NND_INIT, 0 }, { NND_TRAIN, 10 }, { NND_EVAL, 20 } });
    check_wanted(10, 10, 20, 1031, 5,
                 (NndWant[]){ { NND_INIT, 0 }, { NND_TRAIN, 10 }, { NND_EVAL, 20 }, { NND_EVAL, 1024 }, { NND_EVAL, 7 } });
    assert_int_equal(nnd_entries_wanted(64, (int64_t[NND_NSPLIT]){ 10, 5 }, got, &n, &err), NND_E_ARG);
    assert_string_equal(err.text, "batch: 64 is larger than the train split of 10 rows");
    assert_int_equal(nnd_entries_wanted(0, (int64_t[NND_NSPLIT]){ 10, 5 }, got, &n, &err), NND_E_ARG);
    assert_int_equal(nnd_entries_wanted(1, (int64_t[NND_NSPLIT]){ 0, 5 }, got, &n, &err), NND_E_ARG);
}

/* ---- the order of rows ---- */

static void test_shuffle(void **state)
{
    enum { N = 1000 };
    int32_t a[N], b[N], seen[N] = { 0 };
    int moved = 0, differ_epoch = 0, differ_seed = 0;

    (void)state;
    nnd_shuffle(a, N, 7, 1);
    for (int i = 0; i < N; i++) {
        assert_in_range(a[i], 0, N - 1);
        assert_int_equal(seen[a[i]]++, 0);
        moved += a[i] != i;
    }
    nnd_shuffle(b, N, 7, 1);
    assert_memory_equal(a, b, sizeof a);
    nnd_shuffle(b, N, 7, 2);
    for (int i = 0; i < N; i++)
        differ_epoch += a[i] != b[i];
    nnd_shuffle(b, N, (uint64_t)7 << 32, 1);
    for (int i = 0; i < N; i++)
        differ_seed += a[i] != b[i];
    /* a random permutation keeps about one element in place */
    assert_true(moved > N - 10 && differ_epoch > N - 10 && differ_seed > N - 10);
    nnd_shuffle(a, 1, 7, 1);
    assert_int_equal(a[0], 0);
}

/* The same bits as the compiler's Philox, and every order of three rows about equally often. */
static void test_shuffle_bits(void **state)
{
    int32_t row[100], want[100];
    int count[27] = { 0 }, total = 6000;

    (void)state;
    for (int i = 0; i < 100; i++)
        want[i] = i;
    for (int i = 99; i > 0; i--) {
        uint64_t word = philox(0x123456789A, 0x73687566, 3, (uint64_t)i);
        int j = (int)(word * (uint64_t)(i + 1) >> 32), t = want[i];

        want[i] = want[j];
        want[j] = t;
    }
    nnd_shuffle(row, 100, 0x123456789A, 3);
    assert_memory_equal(row, want, sizeof row);
    for (int e = 1; e <= total; e++) {
        nnd_shuffle(row, 3, 1, e);
        count[row[0] * 9 + row[1] * 3 + row[2]]++;
    }
    for (int i = 0; i < 27; i++)      /* 1000 +- 5 standard deviations of sqrt(6000 * 1/6 * 5/6) = 29 */
        assert_true(count[i] == 0 || (count[i] > 855 && count[i] < 1145));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_idx_plain_and_packed, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(test_idx_wider_numbers, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(test_idx_wrong_header, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(test_idx_wrong_length, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(test_idx_sizes_overflow, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(test_idx_damaged_gz, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(test_data_spellings, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(test_data_places, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(test_data_missing, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(test_data_never_mixed, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(test_data_misfits, make_dir, drop_dir),
        cmocka_unit_test(test_eval_batch),
        cmocka_unit_test(test_entries_wanted),
        cmocka_unit_test(test_shuffle),
        cmocka_unit_test(test_shuffle_bits),
    };

    return cmocka_run_group_tests_name("runtime", tests, NULL, NULL);
}
