/* nvptx_fold.c - folds over threads: by shuffles within a warp, through group memory between warps.
 *
 * The tree is that of every fold: v[i] = op(v[i], v[i + n]) with n from half the threads down to 1.  Its upper steps pair
 * threads of different warps: all values go to group memory, each thread reads the ones that its lane meets and takes those
 * steps itself, the same in every warp.  The lower ones exchange with the lane whose number differs in one bit; lane i
 * below n then holds what the tree has at i, and lanes above hold the same with the arguments exchanged.
 */
#include "backends/llvm_compat.h"
#include "backends/nvptx.h"

enum { WARP = 32 };

/* ---- shuffles ---- */

/* The lanes that take part: those of this level. */
LLVMValueRef nvptx_lanes(Emit *e, int64_t n)
{
    LLVMValueRef lane, all = cpu_i32(e, (int32_t)((1ll << n) - 1));

    if (n >= WARP)
        return cpu_i32(e, -1);
    lane = LLVMBuildAnd(e->B, nvptx_call(e, compat_thread, NULL, 0), cpu_i32(e, WARP - n), "");
    return LLVMBuildShl(e->B, all, lane, "");
}

static LLVMValueRef shuffle32(Emit *e, const char *how, LLVMValueRef mask, LLVMValueRef v, LLVMValueRef lane)
{
    LLVMValueRef arg[4] = { mask, v, lane, cpu_i32(e, WARP - 1) };

    return nvptx_call(e, how, arg, 4);
}

/* Another lane's value, of any type. */
static LLVMValueRef shuffle(Emit *e, const char *how, LLVMValueRef mask, LLVMValueRef v, LLVMValueRef lane)
{
    LLVMTypeRef  type = LLVMTypeOf(v), i32 = LLVMInt32TypeInContext(e->C), i64 = LLVMInt64TypeInContext(e->C);
    unsigned     bits = LLVMGetTypeKind(type) == LLVMDoubleTypeKind ? 64 : LLVMGetTypeKind(type) == LLVMFloatTypeKind ? 32 : LLVMGetIntTypeWidth(type);
    LLVMValueRef x, high;

    if (bits <= 32) {
        x = bits < 32 ? LLVMBuildZExt(e->B, v, i32, "") : LLVMBuildBitCast(e->B, v, i32, "");
        x = shuffle32(e, how, mask, x, lane);
        return bits < 32 ? LLVMBuildTrunc(e->B, x, type, "") : LLVMBuildBitCast(e->B, x, type, "");
    }
    x = LLVMBuildBitCast(e->B, v, i64, "");
    high = LLVMBuildTrunc(e->B, LLVMBuildLShr(e->B, x, cpu_i64(e, 32), ""), i32, "");
    high = LLVMBuildZExt(e->B, shuffle32(e, how, mask, high, lane), i64, "");
    x = LLVMBuildZExt(e->B, shuffle32(e, how, mask, LLVMBuildTrunc(e->B, x, i32, ""), lane), i64, "");
    return LLVMBuildBitCast(e->B, LLVMBuildOr(e->B, x, LLVMBuildShl(e->B, high, cpu_i64(e, 32), ""), ""), type, "");
}

/* ---- the tree ---- */

static LLVMValueRef fold2(Emit *e, const Stmt *s, LLVMValueRef a, LLVMValueRef b)
{
    LLVMValueRef pair[2] = { a, b };

    return cpu_op(e, s->op, s->dtype, s->dtype, pair, 2);
}

/* Lanes may differ where the operation tells its arguments apart (zeros of two signs): the first has the tree's. */
static LLVMValueRef fold_lanes(Emit *e, const Stmt *s, LLVMValueRef v, int64_t n)
{
    LLVMValueRef mask = nvptx_lanes(e, n), lane;
    int64_t      all = n;

    while (n > 1) {
        n /= 2;
        v = fold2(e, s, v, shuffle(e, compat_shuffle, mask, v, cpu_i32(e, n)));
    }
    if (s->op == OP_add || all == 1)
        return v;
    lane = LLVMBuildAnd(e->B, nvptx_call(e, compat_thread, NULL, 0), cpu_i32(e, WARP - all), "");
    return shuffle(e, compat_shuffle_to, mask, v, all == WARP ? cpu_i32(e, 0) : lane);
}

static LLVMValueRef group_element(Emit *e, LLVMTypeRef type, LLVMValueRef array, LLVMValueRef i)
{
    return LLVMBuildGEP2(e->B, type, array, &i, 1, "");
}

/* Of the n values, those whose number is the lane's plus a multiple of the warp, folded. */
static LLVMValueRef fold_warps(Emit *e, const Stmt *s, LLVMValueRef v, int64_t n)
{
    LLVMTypeRef  type = cpu_memory_type(e, s->dtype);
    LLVMValueRef thread = e->gpu->level.thread, lane = LLVMBuildAnd(e->B, thread, cpu_i32(e, WARP - 1), "");
    LLVMValueRef *at = &e->gpu->fold_array[s->id], array, *w = arena_array(e->mem, LLVMValueRef, n / WARP);

    array = *at = *at ? *at : nvptx_shared(e, LLVMArrayType2(type, (uint64_t)n), "fold");
    LLVMBuildStore(e->B, v, group_element(e, type, array, thread));
    nvptx_barrier(e);
    for (int i = 0; i < n / WARP; i++)
        w[i] = LLVMBuildLoad2(e->B, type, group_element(e, type, array, LLVMBuildAdd(e->B, lane, cpu_i32(e, WARP * i), "")), "");
    for (n /= WARP; n > 1; n /= 2)
        for (int i = 0; i < n / 2; i++)
            w[i] = fold2(e, s, w[i], w[i + n / 2]);
    return w[0];
}

LLVMValueRef nvptx_fold(Emit *e, const Stmt *s)
{
    Stmt         own = nvptx_own(e, s);
    LLVMValueRef v = cpu_get(e, &own);

    if (s->count > WARP && (s->count % WARP || e->gpu->level.depth))
        nvptx_refuse(e, "folds %lld threads", (long long)s->count);
    else if (s->count > WARP)
        v = fold_warps(e, s, v, s->count);
    return fold_lanes(e, s, v, s->count < WARP ? s->count : WARP);
}
