#!/bin/sh
# gpu.sh - nnd on a machine with an NVIDIA GPU that need not have LLVM or a compiler: programs are made on one, and run on the other.
#
#   sh tests/bench/gpu.sh make BUILD DIR DATA [llvm]
#       programs of the models, for sm_90 and for any x86-64-v3, the libraries that they need, data and text, all in DIR (about 32 MB):
#       DATA has the four IDX files.  With `llvm`, also nnd itself, the tests that compile for the GPU as they run, and LLVM, packed
#       (35 MB more); so that all of it can be sent, the rows to train with are then those to test with, six times over.
#   sh tests/bench/gpu.sh run DIR
#       tests, losses beside the cpu's, times, and PyTorch where python3 has it; about three minutes
#   sh tests/bench/gpu.sh infer BUILD MODEL.nnd WEIGHTS PROGRAM
#       a program that calls nnd_infer on a GPU (infer_gpu.c)
#
# A line that begins with FAIL is one; the last line is `gpu: N failed`.  $SM is another architecture than 90, $MODELS fewer models,
# $SECONDS_LEFT the seconds that the comparison with PyTorch may take (100).
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
models=${MODELS:-slp mlp mlp_adam lenet cnn gpt}
tests='test_parity test_nvptx test_gpu_layers'
failed=0
fail() { echo "FAIL $*"; failed=$((failed + 1)); }

# ---- made where there is LLVM ----

# program MODEL-TEXT DATA - trains on a GPU.
program() { "$build/nnd" compile "$dir/$1.nnd" --entry train --data "$2" --target cuda --cpu "sm_${SM:-90}" -o "$dir/$1-cuda" || fail "$1: no program for a GPU"; }

# What is judged by a full run alone goes, and a rate that changes, so that peers need no schedule.
make_model()
{
    sed 's/^ *expect:.*//; s/lr: cosine(1e-3, warmup: 100, min: 1e-4)/lr: 1e-5/' "$top/models/$1.nnd" >"$dir/$1.nnd"
    data=$idx
    [ "$1" = gpt ] && data=$dir/data
    program "$1" "$data"
    "$build/nnd" compile "$dir/$1.nnd" --entry train --data "$data" --cpu x86-64-v3 -o "$dir/$1-cpu" || fail "$1: no program"
    case $1 in mlp | cnn | gpt)
        for precision in tf32 bf16; do
            sed "s/^\( *\)batch:.*/&\n\1precision: $precision/" "$dir/$1.nnd" >"$dir/$1-$precision.nnd" && program "$1-$precision" "$data"
        done ;;
    esac
    case $1 in mlp | mlp_adam | lenet)
        "$build/nnd" train "$dir/$1.nnd" --data "$data" --steps 1 -q --save "$dir/weights" >/dev/null &&
            infer "$build" "$dir/$1.nnd" "$dir/weights" "$dir/$1-infer-cuda" || fail "$1: no program that predicts" ;;
    esac
}

# infer BUILD MODEL.nnd WEIGHTS PROGRAM - with entries for 1024 rows and for one.
infer()
{
    "$1/nnd" compile "$2" --weights "$3" --batch 1024 --target cuda --cpu "sm_${SM:-90}" --emit obj -o "$4.o" &&
        "${CC:-cc}" -O2 -I"$top" -DIMAGE="nnd_$(basename "$2" .nnd)" "$top/tests/bench/infer_gpu.c" "$4.o" "$1/runtime/libruntime.a" -o "$4" \
            -Wl,--gc-sections -Wl,--as-needed -ljansson -lz -ldeflate -lpng -lm -lpthread -ldl
    made=$?
    rm -f "$4.o"
    return $made
}

# libraries FILE... - what they are linked with, but for the C library.
libraries() { ldd "$@" | awk '$3 ~ /^\// { print $3 }' | grep -vE '/(libc|libm|libpthread|libdl)\.so' | sort -u; }

# Two libraries that LLVM is linked with and does not call for our sake (a prover, XML), and those that they need, would be a third
# of what is sent: in their place stand empty ones.
empty_libraries()
{
    echo 'LIBXML2_2.4.30 { xmlFree; }; LIBXML2_2.6.0 { nothing; };' >"$dir/llvm/versions"
    echo 'void *xmlFree; void nothing(void); void nothing(void) {}' |
        "${CC:-cc}" -shared -Wl,-soname,libxml2.so.2 -Wl,--version-script="$dir/llvm/versions" -o "$dir/llvm/libxml2.so.2" -x c - &&
        "${CC:-cc}" -shared -Wl,-soname,libz3.so.4 -o "$dir/llvm/libz3.so.4" -x c /dev/null && rm "$dir/llvm/versions" "$dir"/llvm/libicu*
}

# LLVM and what belongs to it.  That takes a minute or two, and is done once.
pack()
{
    for program in nnd $(for test in $tests; do echo "tests/$test"; done); do
        [ ! -x "$build/$program" ] || { cp "$build/$program" "$dir" && strip "$dir/$(basename "$program")"; } || return 1
    done
    [ ! -f "$dir/llvm.tar.xz" ] || return 0
    mkdir -p "$dir/llvm" && libraries "$dir"/nnd "$dir"/test_* | xargs -I{} cp -L {} "$dir/llvm" && empty_libraries &&
        tar -C "$dir/llvm" -cf - . | xz -9 -T1 >"$dir/llvm.tar.xz" && rm -rf "$dir/llvm"
}

pack_programs()
(
    cd "$dir" && set -- $(ls | grep -vxE 'data|.*\.tar\.xz') && tar -cf - "$@" | xz -T1 >programs.tar.xz && rm -rf "$@"
)

# few DATA - the rows of the test, six times over, instead of those to train with.
few()
{
    python3 - "$1" <<'PYTHON'
import gzip, os, struct, sys
for kind, head in (('images-idx3', 16), ('labels-idx1', 8)):
    raw = gzip.open(os.path.join(sys.argv[1], f't10k-{kind}-ubyte.gz')).read()
    open(os.path.join(sys.argv[1], f'train-{kind}-ubyte'), 'wb').write(raw[:4] + struct.pack('>i', 60000) + raw[8:head] + 6 * raw[head:])
PYTHON
}

make()
{
    build=$1 dir=$2 idx=$(cd "$3" && pwd)
    mkdir -p "$dir/data" "$dir/lib" && dir=$(cd "$dir" && pwd) && cp "$build/tests/test_cuda" "$dir" || exit 1
    cat "$top"/*/README.md "$top"/*/*.c >"$dir/data/book.txt"
    if [ "${4-}" = llvm ]; then cp "$idx"/t10k-*-ubyte.gz "$dir/data"; else cp "$idx"/*-ubyte* "$dir/data"; fi
    for model in $models; do make_model "$model"; done
    rm -f "$dir/weights"
    libraries "$dir/test_cuda" "$dir"/*-cuda "$dir"/*-cpu | xargs -I{} cp -L {} "$dir/lib"
    [ "${4-}" != llvm ] || { pack && pack_programs; } || fail 'LLVM or the programs are not packed'
    du -sh "$dir"
}

# ---- run where there is a GPU ----

# losses MODEL - of 30 steps, on the GPU and on the processor.
losses()
{
    [ -x "$dir/$1-cuda" ] || return
    for target in cpu cuda; do
        "$dir/$1-$target" --data "$data" --steps 30 --quiet --log-steps "$work/$target.csv" >"$work/$target.out" 2>&1 || { fail "$1-$target: $(tail -n 1 "$work/$target.out")"; return; }
    done
    paste -d, "$work/cpu.csv" "$work/cuda.csv" | awk -F, -v model="$1" '
        NR > 1 { d = $2 - $4; d = d < 0 ? -d : d; m = d > m ? d : m; if (!(d <= 1e-4 * ($2 > 1 ? $2 : 1))) bad = 1 }
        END { printf "%slosses of %s: %d steps differ by %.2g at most\n", bad || NR < 31 ? "FAIL " : "", model, NR - 1, m; exit bad || NR < 31 }' || failed=$((failed + 1))
}

# measure MODEL HOW EPOCHS - the last epoch's seconds, and those of a step.
measure()
{
    [ -x "$dir/$1-cuda" ] || return
    NND_CUDA=$2 "$dir/$1-cuda" --data "$data" --epochs "$3" --quiet --log "$work/log.csv" >"$work/out" 2>&1 || { fail "$1 $2: $(tail -n 1 "$work/out")"; return; }
    awk -F, -v model="$1" -v how="${2:-as chosen}" 'NR > 1 { steps = $2 - before; before = $2; seconds = $NF } END { printf "time: %-9s %-10s %.3f s an epoch, %.1f us a step\n", model, how, seconds, seconds / steps * 1e6 }' "$work/log.csv"
    tail -n 1 "$work/out"
}

# first MODEL - from the start to the first step: of a program with code for the GPU, and of nnd, which compiles.
first()
{
    if [ -x "$dir/$1-cuda" ]; then
        begun=$(date +%s%N)
        "$dir/$1-cuda" --data "$data" --steps 1 --quiet >"$work/out" 2>&1 || fail "$1: $(tail -n 1 "$work/out")"
        echo "first step: $1, program: $((($(date +%s%N) - begun) / 1000000)) ms from begin to end"
    fi
    if [ -x "$dir/nnd" ] && [ -f "$dir/$1.nnd" ]; then
        "$dir/nnd" train "$dir/$1.nnd" --data "$data" --target cuda --steps 1 -q --time >"$work/out" 2>&1 || fail "$1: $(tail -n 1 "$work/out")"
        echo "first step: $1, nnd train:$(awk '/first step/ { sub(/.*first step */, " "); print }' "$work/out")"
    fi
}

# suite TEST [PART] - a test of the tree, or its part 2/8, on the GPU.
suite()
{
    [ -x "$dir/$1" ] || return
    begun=$(date +%s) part=${2-}
    told=$work/$1-${part%/*}.out
    NND_GPU=real NND_ROOT=$top NND_PART=$part timeout 90 "$dir/$1" >"$told" 2>&1 || { fail "$1"; grep -E '^\[ *(ERROR|LINE|FAILED)|^# ' "$told" | cut -c 1-300 | head -n 40; }
    echo "$1 $part: $(grep -c '^\[       OK' "$told") well, $(($(date +%s) - begun)) s"
}

# All tests beside each other, the largest in parts.
suites()
{
    for test in test_parity test_nvptx; do suite $test >"$work/$test.said" 2>&1 & done
    for part in 1 2 3 4 5 6 7 8; do suite test_gpu_layers $part/8 >"$work/test_gpu_layers-$part.said" 2>&1 & done
}

# unpack DIR - what is packed there, to where it can be run: dir has the programs.
unpack()
{
    data=$1/data
    [ -f "$data/train-labels-idx1-ubyte" ] || [ -f "$data/train-labels-idx1-ubyte.gz" ] || few "$data"
    for packed in "$1"/*.tar.xz; do
        [ -f "$packed" ] || continue
        dir=$work/gpu
        mkdir -p "$dir/lib"
        python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$packed" "$dir$(case $packed in */llvm.tar.xz) echo /lib ;; esac)" || fail "$packed is not unpacked"
    done
    export LD_LIBRARY_PATH="${LD_LIBRARY_PATH-}${LD_LIBRARY_PATH:+:}$dir/lib"
}

run()
{
    dir=$(cd "$1" && pwd) work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    begin=$(date +%s)
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    unpack "$dir"
    for how in '' nographs sync unroll=5; do
        NND_CUDA=$how "$dir/test_cuda" >"$work/out" 2>&1 || { fail "test_cuda, $how"; cat "$work/out"; }
        echo "test_cuda ${how:-as chosen}: $(grep -c '^\[       OK' "$work/out") well"
    done
    suites
    for model in $models; do losses "$model"; done
    wait                       # nothing is timed until then
    cat "$work"/*.said
    failed=$((failed + $(cat "$work"/*.said | grep -c '^FAIL')))
    echo "seconds so far: $(($(date +%s) - begin))"
    for model in $models; do measure "$model" '' 2; done
    for model in $models; do first "$model"; done
    echo "seconds so far: $(($(date +%s) - begin))"
    python3 "$top/tests/bench/run.py" --target cuda --programs "$dir" --data "$data" --repeat 1 --seconds "${SECONDS_LEFT:-100}" W5 W4b W2 W6 W4 W1 W3 W7 || fail 'run.py'
    for how in nographs unroll=1 unroll=4 unroll=32; do measure mlp "$how" 2; done
    echo "seconds: $(($(date +%s) - begin))"
    echo "gpu: $failed failed"
}

case ${1-} in
make)  make "$2" "$3" "$4" "${5-}" ;;
run)   run "$2" ;;
infer) infer "$2" "$3" "$4" "$5" ;;
*)     echo 'usage: gpu.sh make BUILD DIR DATA [llvm] | gpu.sh run DIR | gpu.sh infer BUILD MODEL.nnd WEIGHTS PROGRAM' >&2; exit 2 ;;
esac
[ "$failed" = 0 ]
