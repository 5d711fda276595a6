#!/bin/sh
# cuda.sh NND TEST_CUDA - GPUs without one: what is said where there is none, and runs through stand-ins for the driver.
#
# fake_cuda.c is a driver of which kernels do nothing, or one with something wrong.  $NND_PTXRUN is a folder with another
# libcuda.so.1, which interprets PTX: what needs results is skipped without it.
set -u
nnd=$(realpath "$1") test_cuda=$(realpath "$2")
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
. tests/tap.sh

unset FAKE_CUDA FAKE_CUDA_OVER FAKE_CUDA_TELL NND_CUDA
mkdir "$work/none" "$work/fake" "$work/old"
"${CC:-cc}" -I. -shared -fPIC -o "$work/fake/libcuda.so.1" tests/tools/fake_cuda.c -ldl &&
    "${CC:-cc}" -DOLD -I. -shared -fPIC -o "$work/old/libcuda.so.1" tests/tools/fake_cuda.c -ldl &&
    echo 'no library' >"$work/none/libcuda.so.1" || exit 1

# fake WORDS COMMAND... - with a driver that has this wrong.
fake() { words=$1; shift; LD_LIBRARY_PATH=$work/fake FAKE_CUDA=$words "$@"; }
old()  { LD_LIBRARY_PATH=$work/old "$@"; }
none() { LD_LIBRARY_PATH=$work/none "$@"; }

# refused SENTENCE COMMAND... - training ends with status 6 and this sentence, and nothing else is said.
refused()
{
    sentence=$1
    shift
    ends 6 "$@" "$nnd" train models/slp.nnd --steps 20 -q --target "${target:-cuda}" || return 1
    printf 'nnd train: error: %s\n' "$sentence" | diff - "$work/err" && [ ! -s "$work/out" ]
}

# ---- no driver, or one with something wrong ----

not_found() { LD_LIBRARY_PATH= "$nnd" devices | grep -q '^cuda      not available: libcuda.so.1 not found' || LD_LIBRARY_PATH= "$nnd" devices | grep '^cuda:0 '; }
listed() { fake two "$nnd" devices | grep -qx 'cuda:1    fake 1, sm_80, 4.0 GiB (4.0 free), driver CUDA 12.8'; }
starved() { fake small "$nnd" devices | grep -qx 'cuda:0    fake 0, sm_80, 4.0 GiB (0.0 free), driver CUDA 12.8'; }
not_loaded() { refused "libcuda.so.1 cannot be loaded: $work/none/libcuda.so.1: file too short" none; }
too_old() { refused 'libcuda.so.1 has no cuDevicePrimaryCtxRelease_v2: the driver, of CUDA 10.2, is too old (11.4 is needed)' old; }
not_started()
{
    refused 'the NVIDIA driver does not start: system has unsupported display driver / cuda driver combination (803)' fake noinit
}
no_device() { refused 'cuda:0: the driver (CUDA 12.8) finds no device' fake nodevice; }
no_such() { target=cuda:1 refused 'cuda:1: there is no such device, only cuda:0' fake '' && target=cuda:2 refused 'cuda:2: there is no such device, only cuda:0 to cuda:1' fake two; }
second() { ends 0 fake two "$nnd" train models/slp.nnd --steps 1 --target cuda:1 && said '^device: cuda, fake 1, sm_80, 4.0 GiB, driver CUDA 12.8$'; }
too_small()
{
    ends 6 fake small "$nnd" train models/mlp.nnd --steps 1 --target cuda &&
        said '^nnd train: error: cuda:0: out of memory: wanted [0-9]* bytes ([0-9]* of state, [0-9]* of scratch, [0-9]* of rows and figures), 1000000 are free$'
}
# The run fits, its data set does not.
data_too_large()
{
    printf 'nnd 1\ndata d(x: i32[2600]) { train: npy("long.npy") }\nmodel m(x: i32[N, 2600]) -> f32[N, 1] { return fc: linear(f32(x), 1) }\n' >"$work/long.nnd"
    printf 'train m on d { minimize mean(m(x)^2)\n optimizer: sgd(lr: 1e-9)\n batch: 10\n epochs: 1 }\n' >>"$work/long.nnd"
    printf 'nnd 1\nlong = reshape(iota(1040000), [400, 2600])\nshow long\n' >"$work/show.nnd" && "$nnd" run "$work/show.nnd" --out "$work" >"$work/out" || return 1
    ends 6 fake small "$nnd" train "$work/long.nnd" --target cuda && said '^nnd train: error: cuda:0: out of memory: wanted 4160000 bytes for the data set, 1000000 are free$'
}
not_allocated() { ends 6 fake noalloc "$nnd" train models/slp.nnd --target cuda && said 'cuda:0: out of memory: wanted [0-9]* bytes .*, not all of 4294967296 that are free can be had$'; }
not_launched() { ends 6 fake badlaunch "$nnd" train models/slp.nnd --target cuda && said '^nnd train: error: cuda:0: kernel [a-z0-9_]*: too many resources requested for launch (701)$'; }
fails_late()
{
    refused 'cuda:0: a kernel of init failed: an illegal memory access was encountered (700); run again with NND_CUDA=sync in the environment to see which' fake late &&
        ends 6 env NND_CUDA=sync LD_LIBRARY_PATH="$work/fake" FAKE_CUDA=late "$nnd" train models/slp.nnd -q --target cuda &&
        said '^nnd train: error: cuda:0: kernel k0_init_0: an illegal memory access was encountered (700)$'
}
not_taken()
{
    refused "cuda:0: the model's PTX is refused: ptxas application ptx input, line 7; error   : Unknown symbol 'x' \
ptxas fatal   : Ptx assembly aborted: a PTX JIT compilation failed (218)" fake refused
}
old_for_ptx()
{
    refused "cuda:0: the driver, of CUDA 12.8, is too old for the model's PTX: the provided PTX was compiled with an unsupported toolchain." fake oldptx
}
# Where there is a driver this can't be seen.
no_library()
{
    "$nnd" devices | grep -q '^cuda:0 ' || LD_LIBRARY_PATH= refused 'libcuda.so.1 not found (install the NVIDIA driver)'
}
described() { "$nnd" devices | grep -Eq '^cpu  .*, [0-9]+ threads?, [0-9]+ usable, '; }

# ---- code without a device ----

# The text of either entry is for the GPU that was named; one that is not known is told with those that are.
texts()
{
    for sm in 70 75 80 90 100; do
        for entry in train infer; do
            ends 0 none "$nnd" compile models/slp.nnd --target cuda --cpu sm_$sm --emit ptx --entry $entry -o "$work/m.ptx" &&
                grep -qx "\.target sm_$sm" "$work/m.ptx" && grep -q "^\.visible \.entry k0_$entry" "$work/m.ptx" || return 1
        done
    done
    ends 6 none "$nnd" compile models/slp.nnd --target cuda --cpu sm_71 --emit ptx -o "$work/m.ptx" && said '^nnd compile: error: cuda: unknown GPU `sm_71`, known are sm_70, '
}
# Tensor cores take the products of a model that allows it, on a GPU that has them for this precision.
rounded_products()
{
    for precision in tf32 bf16; do
        sed "s/^\( *\)batch:.*/&\n\1precision: $precision/" models/mlp.nnd >"$work/$precision.nnd"
        for sm in 75 80; do
            ends 0 none "$nnd" dump "$work/$precision.nnd" --entry train --target cuda --cpu sm_$sm --after ptx || return 1
            [ "$(grep -c "mma\.sync.*$precision" "$work/out")" -gt 0 ] || [ $sm = 75 ] || { echo "no product of $precision"; return 1; }
            [ $sm = 80 ] || ! grep 'mma\.sync' "$work/out" || return 1
        done
    done
    ends 0 none "$nnd" dump models/mlp.nnd --entry train --target cuda --cpu sm_80 --after ptx && ! grep 'mma\.sync' "$work/out"
}
# A program has the text, and where ptxas is its machine code as well: parts of it begin as ELF files do.
with_cubin()
{
    path=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
    ends 0 env PATH="$path" "$nnd" compile models/slp.nnd --entry train --target cuda --cpu sm_80 -o "$work/program" && grep -aq '^\.target sm_80' "$work/program" || return 1
    elfs=$(grep -aoF "$(printf '\177ELF')" "$work/program" | wc -l)
    if PATH=$path command -v ptxas >/dev/null; then [ "$elfs" -gt 1 ]; else [ "$elfs" = 1 ]; fi
}
too_new() { ends 6 fake '' "$nnd" train models/slp.nnd -q --target cuda --cpu sm_90 && said 'cuda:0: the model was compiled for sm_90, the device (fake 0) is sm_80$'; }
# A GPU of 8.8 takes code for 8.7, the last one before it that is known.
nearest() { ends 0 fake sm88 "$nnd" train models/slp.nnd --steps 1 -q --target cuda; }
automatic()
{
    ends 0 fake '' "$nnd" train models/slp.nnd --steps 1 --target auto && said '^target: cuda, as there is fake 0, sm_80, 4.0 GiB, driver CUDA 12.8$' &&
        said '^device: cuda, fake 0' && ends 0 none "$nnd" train models/slp.nnd --steps 1 --target auto &&
        said "^target: cpu, as libcuda.so.1 cannot be loaded: " && said '^device: cpu, '
}
# Code begins with sm_70.
outdated()
{
    refused 'cuda: fake 0 is sm_61, which is too old: no code is made for it' fake sm61 && fake sm61 "$nnd" devices | grep -q '^cuda:0 .*  (not used: too old, no code is made for it)$' &&
        ends 0 fake sm61 "$nnd" train models/slp.nnd --steps 1 --target auto && said '^target: cpu, as fake 0 is sm_61, which is too old: no code is made for it$'
}
misspelt() { ends 2 fake '' "$nnd" train models/slp.nnd --target cuda: && said 'unknown target `cuda:`; did you mean `cuda`?'; }
no_device_needed()
{
    ends 0 none "$nnd" dump models/slp.nnd --target cuda && ends 0 none "$nnd" summary models/slp.nnd --target cuda && ends 0 none "$nnd" check models/slp.nnd --target cuda
}
# Batches of 60000 rows: one by one at an epoch's ends, the others in graphs of 1 and of many.
recorded() { ends 0 env FAKE_CUDA_TELL=1 LD_LIBRARY_PATH="$work/fake" "$nnd" train models/slp.nnd --epochs 1 -q --target cuda && said '^fake: [0-9]* kernels alone, [1-9][0-9]* graphs of'; }

# Batches as an evaluation has them, which no other test gives to every model.
scheduled()
{
    for model in $(grep -l "^train" models/*.nnd); do
        ends 0 none "$nnd" dump "$model" --target cuda --cpu sm_80 --entry eval --batch 400 --after schedule || return 1
    done
}
timed()
{
    ends 0 env NND_CUDA=times LD_LIBRARY_PATH="$work/fake" "$nnd" train models/slp.nnd --steps 1 -q --target cuda &&
        said '^cuda:0: part 1 of [0-9]* made in [0-9.]* ms$' && said '^cuda:0: part 1 of [0-9]* loaded in [0-9.]* ms$'
}

# A line for every kernel, each with a prediction, registers where ptxas is, and times where there is a device.
predicted()
{
    ends 0 none "$nnd" profile models/mlp.nnd --target cuda --cpu sm_80 && said '^not measured: libcuda' || return 1
    "$nnd" dump models/mlp.nnd --target cuda --cpu sm_80 --after memory --entry train --batch 64 | grep -o 'kernel k[0-9t]*' | awk '{ print $2 }' | sort >"$work/kernels"
    awk '/^k[0-9]/ { print $1 }' "$work/out" | sort | diff -u "$work/kernels" - && grep '^prediction, microseconds: [0-9.]* a step in [0-9]* kernels on A100' "$work/out" &&
        awk '/^k[0-9]/ { if (!($3 >= 2 && $7 ~ /^[0-9]+,[0-9]+,[0-9]+$/ && $8 > 0 && $12 > 0 && $12 <= 100)) exit 1 }' "$work/out" || { cat "$work/out"; return 1; }
    ! grep -q 'no ptxas' "$work/out" || return 0
    awk '/^k[0-9]/ { if ($9 + 0 < 1 || $11 != 0) exit 1 }' "$work/out"
}
measured() { ends 0 fake '' "$nnd" profile models/mlp.nnd --target cuda --steps 3 && grep '^kernel.* measured ' "$work/out" && grep '^measured, .*: [0-9.]* a step on fake 0$' "$work/out" && awk '/^k[0-9]/ && $4 != "500.0" { exit 1 }' "$work/out"; }
no_trace() { ends 2 none "$nnd" profile models/mlp.nnd --target cuda --trace "$work/t.json" && said 'calls on a GPU are not noted$'; }

ok 'profile, a prediction' predicted
ok 'profile, measured' measured
ok 'profile, no trace' no_trace
ok 'devices, no driver' not_found
ok 'devices' listed
ok 'devices, a full one' starved
ok 'a library that is none' not_loaded
ok 'a driver that is too old' too_old
ok 'a driver that does not start' not_started
ok 'no device' no_device
ok 'no such device' no_such
ok 'the second device' second
ok 'memory for the run' too_small
ok 'memory for the data' data_too_large
ok 'memory that cannot be had' not_allocated
ok 'a kernel that is not launched' not_launched
ok 'a kernel that fails' fails_late
ok 'PTX that is refused' not_taken
ok 'a driver that is too old for the PTX' old_for_ptx
ok 'no driver' no_library
ok 'devices, the processor' described
ok 'PTX for each GPU' texts
ok 'products of tensor cores' rounded_products
ok 'machine code in a program' with_cubin
ok 'code for a newer device' too_new
ok 'a device between those that are known' nearest
ok '--target auto' automatic
ok 'a device that is too old' outdated
ok 'not a target' misspelt
ok 'what needs no device' no_device_needed
ok 'an epoch by graphs' recorded
ok 'times of the code' timed
ok 'evaluation of every model' scheduled

# ---- the interpreter ----

if [ -n "${NND_PTXRUN-}" ]; then
    ptxrun() { LD_LIBRARY_PATH=$NND_PTXRUN PTXRUN_RACE=1 "$@"; }
    graphs() { LD_LIBRARY_PATH=$work/fake FAKE_CUDA_OVER=$NND_PTXRUN/libcuda.so.1 FAKE_CUDA_TELL=1 "$@"; }

    ok 'the runtime, kernel by kernel' ptxrun "$test_cuda"
    ok 'the runtime, by graphs' graphs "$test_cuda"
    recorded() { graphs "$test_cuda" 2>&1 | grep -E '^fake: [0-9]+ kernels alone, [1-9][0-9]* graphs of [1-9][0-9]* recorded'; }
    ok 'graphs are recorded' recorded
    ok 'the runtime, graphs refused' env FAKE_CUDA=capture LD_LIBRARY_PATH="$work/fake" FAKE_CUDA_OVER="$NND_PTXRUN/libcuda.so.1" "$test_cuda"
    ok 'the runtime, graphs unwanted' env NND_CUDA=nographs LD_LIBRARY_PATH="$work/fake" FAKE_CUDA_OVER="$NND_PTXRUN/libcuda.so.1" "$test_cuda"
    ok 'the runtime, graphs of five' env NND_CUDA=unroll=5 LD_LIBRARY_PATH="$work/fake" FAKE_CUDA_OVER="$NND_PTXRUN/libcuda.so.1" "$test_cuda"
else
    skip 'the runtime on a GPU' 'NND_PTXRUN is not set: no interpreter of PTX'
fi
finish
