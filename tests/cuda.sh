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
