/* test_safetensors.c - safetensors files of a session made here: there and back, damaged, and of another model. */
#include "tests/unit/files_rig.h"

/* ---- sessions without a compiler ---- */

/* A matrix whose layout is not the file's, a padded row, all dtypes, no elements, one number, and what isn't saved. */
static const NndVar vars[] = {
    { .name = "fc.weight", .kind = NND_PARAM, .dtype = NND_F32, .rank = 2, .dim = { 2, 3 }, .stride = { 1, 4 } },
    { .name = "fc.bias", .kind = NND_PARAM, .dtype = NND_F64, .rank = 1, .dim = { 2 }, .stride = { 1 }, .offset = 64 },
    { .name = "mask", .kind = NND_PARAM, .dtype = NND_BOOL, .rank = 1, .dim = { 3 }, .stride = { 1 }, .offset = 128 },
    { .name = "none", .kind = NND_PARAM, .dtype = NND_F32, .rank = 2, .dim = { 0, 3 }, .stride = { 3, 1 },
      .offset = 192 },
    { .name = "count", .kind = NND_STATE, .dtype = NND_I64, .rank = 0, .offset = 192 },
    { .name = "pixel", .kind = NND_STATE, .dtype = NND_U8, .rank = 1, .dim = { 2 }, .stride = { 2 }, .offset = 256 },
    { .name = "index", .kind = NND_STATE, .dtype = NND_I32, .rank = 1, .dim = { 1 }, .stride = { 1 }, .offset = 320 },
    { .name = "adam.m", .kind = NND_OPTIM, .dtype = NND_F32, .rank = 1, .dim = { 2 }, .stride = { 1 }, .offset = 384 },
};
enum { NVAR = sizeof vars / sizeof *vars, STATE = 448 };
static const NndImage image = { .abi = NND_ABI, .state_bytes = STATE, .var = vars, .nvar = NVAR };

static void fill_state(NndSession *s)
{
    char *b = s->state;

    assert_int_equal(nnd_session_open(s, &image, 0, NULL), 0);
    b = s->state;
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            ((float *)b)[i + 4 * j] = (float)(10 * i + j);
    ((double *)(b + 64))[0] = 0.1;
    ((double *)(b + 64))[1] = -1e300;
    memcpy(b + 128, "\1\0\1", 3);
    *(int64_t *)(b + 192) = INT64_MIN;
    b[256] = 7;
    b[258] = (char)200;
    *(int32_t *)(b + 320) = -5;
    ((float *)(b + 384))[0] = 99;
}

static void test_weights_round_trip(void **state)
{
    static const char header[] =
        "{\"fc.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},\"fc.bias\":";
    const Place *p = *state;
    NndError err = { 0 };
    NndSession s, t;
    uint64_t length;
    Bytes x;

    fill_state(&s);
    assert_int_equal(nnd_weights_save(&s, p->path, &err), 0);
    x = get(p->path);
    memcpy(&length, x.b, 8);
    assert_int_equal(length % 8, 0);
    assert_int_equal(x.n, 8 + length + 24 + 16 + 3 + 0 + 8 + 2 + 4);
    assert_memory_equal(x.b + 8, header, strlen(header));
    assert_memory_equal(x.b + 8 + length, ((float[]){ 0, 1, 2, 10, 11, 12 }), 24);
    x.b[8 + length] = 0;
    assert_null(strstr(x.b + 8, "adam"));

    assert_int_equal(nnd_session_open(&t, &image, 0, NULL), 0);
    memset(t.state, 0x5A, STATE);
    if (nnd_weights_load(&t, p->path, &err))
        fail_msg("%s", err.text);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            assert_true(((float *)t.state)[i + 4 * j] == (float)(10 * i + j));
    assert_int_equal(((char *)t.state)[4 * 2], 0x5A);              /* between the elements */
    assert_memory_equal((char *)t.state + 64, (char *)s.state + 64, 16);
    assert_memory_equal((char *)t.state + 128, (char *)s.state + 128, 3);
    assert_memory_equal((char *)t.state + 192, (char *)s.state + 192, 8);
    assert_int_equal(((unsigned char *)t.state)[256], 7);
    assert_int_equal(((unsigned char *)t.state)[257], 0x5A);
    assert_int_equal(((unsigned char *)t.state)[258], 200);
    assert_int_equal(*(int32_t *)((char *)t.state + 320), -5);
    assert_int_equal(((char *)t.state)[384], 0x5A);                /* the optimizer's */
    nnd_session_close(&s);
    nnd_session_close(&t);
}

/* ---- small models, headers written by hand ---- */

static const NndVar small_var[] = {
    { .name = "w", .kind = NND_PARAM, .dtype = NND_F32, .rank = 1, .dim = { 2 }, .stride = { 1 } },
    { .name = "b", .kind = NND_PARAM, .dtype = NND_BOOL, .rank = 1, .dim = { 4 }, .stride = { 1 }, .offset = 64 },
    { .name = "mean", .kind = NND_STATE, .dtype = NND_F32, .rank = 0, .offset = 128 },
    { .name = "var", .kind = NND_STATE, .dtype = NND_F32, .rank = 0, .offset = 192 },
    { .name = "m", .kind = NND_OPTIM, .dtype = NND_F32, .rank = 0, .offset = 256 },
};
static const NndImage small = { .abi = NND_ABI, .state_bytes = 320, .var = small_var, .nvar = 5 };

static Bytes tensors(const char *header, size_t n)
{
    uint64_t len = strlen(header);
    Bytes x = { .n = 8 + len + n };

    memcpy(x.b, &len, 8);
    memcpy(x.b + 8, header, len);
    return x;
}

static void weights_refused(const Place *p, Bytes x, int code, const char *word)
{
    NndError err = { 0 };
    char before[320];
    NndSession s;

    assert_int_equal(nnd_session_open(&s, &small, 0, NULL), 0);
    memset(s.state, 0x5A, 320);
    memcpy(before, s.state, 320);
    put(p->path, x.b, x.n);
    if (nnd_weights_load(&s, p->path, &err) != code)
        fail_msg("wanted %d and \"%s\", found %d: %s", code, word, err.code, err.text);
    check_sentence(&err, code, p->path, word);
    assert_memory_equal(s.state, before, 320);
    nnd_session_close(&s);
}

#define T(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" offsets "]}"
#define W T("w", "F32", "2", "0,8")
#define B T("b", "BOOL", "4", "8,12")

static void test_weights_spellings(void **state)
{
    static const struct { const char *header; size_t n; } ok[] = {
        { "{" W "," B "}", 12 }, { "{" B "," W "}    ", 12 }, { "{\"__metadata__\":{\"format\":\"pt\"}," W "," B "}",
                                                                12 },
        { "{" T("b", "BOOL", "4", "0,4") "," T("w", "F64", "2", "4,20") "}", 20 },
        { "{" W "," B "," T("mean", "F32", "", "12,16") "," T("var", "F64", "", "16,24") "}", 24 },
    };
    const Place *p = *state;

    for (size_t i = 0; i < sizeof ok / sizeof *ok; i++) {
        Bytes x = tensors(ok[i].header, ok[i].n);
        NndError err = { 0 };
        NndSession s;

        put(p->path, x.b, x.n);
        assert_int_equal(nnd_session_open(&s, &small, 0, NULL), 0);
        memset(s.state, 0x5A, 320);
        if (nnd_weights_load(&s, p->path, &err))
            fail_msg("%s", err.text);
        assert_true(((float *)s.state)[1] == 0);
        assert_int_equal(((char *)s.state)[128], i == 4 ? 0 : 0x5A);    /* absent states stay */
        assert_int_equal(((char *)s.state)[256], 0x5A);
        nnd_session_close(&s);
    }
}

static void test_weights_rounded(void **state)
{
    static const NndVar var[] = {
        { .name = "w", .kind = NND_PARAM, .dtype = NND_F32, .rank = 1, .dim = { 1 }, .stride = { 1 } },
        { .name = "d", .kind = NND_PARAM, .dtype = NND_F64, .rank = 1, .dim = { 1 }, .stride = { 1 }, .offset = 64 } };
    NndImage im = { .abi = NND_ABI, .state_bytes = 128, .var = var, .nvar = 2 };
    Bytes x = tensors("{" T("w", "F64", "1", "0,8") "," T("d", "F32", "1", "8,12") "}", 12);
    const Place *p = *state;
    NndSession s;

    memcpy(x.b + x.n - 12, &(double){ 0.1 }, 8);
    memcpy(x.b + x.n - 4, &(float){ 0.1f }, 4);
    put(p->path, x.b, x.n);
    assert_int_equal(nnd_session_open(&s, &im, 0, NULL), 0);
    assert_int_equal(nnd_weights_load(&s, p->path, NULL), 0);
    assert_true(*(float *)s.state == 0.1f && *(double *)((char *)s.state + 64) == 0.1f);
    nnd_session_close(&s);
}

static void test_weights_damaged(void **state)
{
    static const struct { const char *header; size_t n; const char *word; } bad[] = {
        { "", 0, "wanted `{`" }, { "[]", 0, "wanted `{`" }, { " {}", 0, "wanted `{`" }, { "{", 0, "wanted `{`" },
        { "{" W "," B ",}", 12, "damaged header: byte" }, { "{" W "," B "}x", 12, "damaged header: byte" },
        { "{" W "," B "," W "}", 12, "duplicate" },
        { "{" T("w", "F32", "2", "0,8") "," T("b", "BOOL", "4", "4,8") "}", 8, "tensors w and b overlap" },
        { "{" W "," T("b", "BOOL", "4", "9,13") "}", 13, "no tensor has the bytes from 8 to 9, before b" },
        { "{" T("w", "F32", "2", "1,9") "}", 9, "no tensor has the bytes from 0 to 1, before w" },
        { "{" W "," B "}", 11, "past the file's end" }, { "{" W "," B "}", 13, "wanted 12 bytes of elements" },
        { "{}", 1, "wanted 0 bytes of elements" },
        { "{" T("w", "F32", "2", "0,7") "}", 7, "don't fit" }, { "{" T("w", "F32", "0,2", "0,8") "}", 8, "don't fit" },
        { "{" T("w", "F32", "2", "8,0") "}", 8, "ascend" }, { "{" T("w", "F32", "2", "-8,0") "}", 8, "ascend" },
        { "{" T("w", "F32", "-2", "0,8") "}", 8, "whole numbers" }, { "{" T("w", "F32", "2.0", "0,8") "}", 8,
                                                                      "whole numbers" },
        { "{" T("w", "F32", "4611686018427387904,4", "0,0") "}", 0, "can be counted" },
        { "{" T("w", "F32", "0,4611686018427387904,4", "0,0") "}", 0, "can be counted" },
        { "{" T("w", "F32", "2", "0,9223372036854775807") "}", 8, "past the file's end" },
        { "{" T("w", "F32", "2", "0,9223372036854775808") "}", 8, "damaged header: byte" },
        { "{" T("w", "F32", "2", "0") "}", 8, "two whole numbers" }, { "{" T("w", "F32", "2", "0,4,8") "}", 8,
                                                                       "two whole" },
        { "{" T("w", "F32", "2", "0,8.0") "}", 8, "two whole numbers" }, { "{" T("w", "Q4", "2", "0,8") "}", 8,
                                                                           "none of" },
        { "{\"w\":3}", 0, "tensor w: wanted dtype" }, { "{\"w\":{\"dtype\":\"F32\"}}", 0, "tensor w: wanted dtype" },
        { "{\"a\\u001b\":3}", 0, "tensor a?: wanted dtype" }, { "{\"a\\u0000\":3}", 0, "damaged header: byte" },
    };
    uint64_t huge[] = { 100000001, 100000000, UINT64_MAX, (uint64_t)1 << 63, 13 };
    Bytes x = tensors("{" W "," B "}", 12);

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        weights_refused(*state, tensors(bad[i].header, bad[i].n), NND_E_FORMAT, bad[i].word);
    x.b[x.n - 1] = 2;
    weights_refused(*state, x, NND_E_FORMAT, "wanted 0 or 1 in every bool of b, found 2 in element 3");
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        memcpy(x.b, &huge[i], 8);
        weights_refused(*state, x, NND_E_FORMAT,
                        i == 1 ? "wanted a header of 100000000 bytes" : i < 4 ? "at most" : "");
    }
}

static void test_weights_cut(void **state)
{
    Bytes x = tensors("{" W "," B "}", 12);

    while (x.n--)
        weights_refused(*state, x, NND_E_FORMAT, x.n < 8 ? "8 bytes" : "");
}

static void test_weights_of_another_model(void **state)
{
    static const struct { const char *header; size_t n; const char *word; } bad[] = {
        { "{" W "}", 8, "it lacks 1: b" }, { "{}", 0, "it lacks 2: w, b" },
        { "{" W "," B "," T("x", "F32", "", "12,16") "," T("m", "F16", "", "16,18") "}", 18,
          "the model lacks 2: x, m" },
        { "{" W "," T("y", "F32", "", "8,12") "}", 12, "it lacks 1: b; the model lacks 1: y" },
        { "{" W "," B "," T("mean", "F32", "", "12,16") "}", 16, "it lacks 1: var" },
        { "{" T("w", "F32", "1,2", "0,8") "," B "}", 12, "wanted the shape [2] for w, found [1, 2]" },
        { "{" T("w", "F32", "", "0,4") "," T("b", "BOOL", "4", "4,8") "}", 8, "wanted the shape [2] for w, found []" },
        { "{" T("w", "F16", "4", "0,8") "," B "}", 12, "wanted F32 or F64 for w, found F16" },
        { "{" T("w", "I32", "2", "0,8") "," B "}", 12, "wanted F32 or F64 for w, found I32" },
        { "{" W "," T("b", "U8", "4", "8,12") "}", 12, "wanted BOOL for b, found U8" },
    };
    char many[4000];
    size_t at = 0;
    Bytes x;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        weights_refused(*state, tensors(bad[i].header, bad[i].n), NND_E_DATA, bad[i].word);
    many[at++] = '{';
    for (int i = 0; i < 50; i++)
        at += (size_t)snprintf(many + at, sizeof many - at, "%s" T("a-long-name-%d", "U8", "0", "0,0"), i ? "," : "",
                               i);
    snprintf(many + at, sizeof many - at, "}");
    x = tensors(many, 0);
    weights_refused(*state, x, NND_E_DATA, "it lacks 2: w, b; the model lacks 50: a-long-name-0, a-long-name-1");
    weights_refused(*state, x, NND_E_DATA, ", ...");
}

/* A file that can't be written or read: the sentence says why, and what was there stays. */
static void test_weights_no_file(void **state)
{
    const Place *p = *state;
    char path[1024];
    NndError err = { 0 };
    NndSession s;

    fill_state(&s);
    assert_int_equal(nnd_weights_save(&s, "/dev/full", &err), NND_E_FILE);
    assert_string_equal(err.text, "/dev/full: cannot be written: No space left on device");
    assert_int_equal(nnd_weights_save(&s, p->dir, &err), NND_E_FILE);
    check_sentence(&err, NND_E_FILE, p->dir, "Is a directory");
    snprintf(path, sizeof path, "%s/absent/file", p->dir);
    assert_int_equal(nnd_weights_save(&s, path, &err), NND_E_FILE);
    check_sentence(&err, NND_E_FILE, path, "cannot be written: No such file");
    assert_int_equal(nnd_weights_load(&s, path, &err), NND_E_FILE);
    check_sentence(&err, NND_E_FILE, path, "cannot be read: No such file");
    snprintf(path, sizeof path, "%s/fifo", p->dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(nnd_weights_load(&s, path, &err), NND_E_FILE);
    check_sentence(&err, NND_E_FILE, path, "not a regular file");
    nnd_session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_weights_round_trip, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_weights_spellings, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_weights_rounded, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_weights_damaged, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_weights_cut, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_weights_of_another_model, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_weights_no_file, make_place, drop_place),
    };

    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
