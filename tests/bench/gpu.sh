#!/bin/sh
# gpu.sh - nnd on a machine with an NVIDIA GPU that need not have LLVM or a compiler: programs are made on one, and run on the other.
#
#   sh tests/bench/gpu.sh make BUILD DIR DATA   programs of the models, for sm_90 and for any x86-64-v3, the libraries that they need,
#                                               data and text, all in DIR (about 32 MB): DATA has the four IDX files
#   sh tests/bench/gpu.sh run DIR               tests of the runtime, losses beside the cpu's, times, and PyTorch where python3 has it
#
# A line that begins with FAIL is one; the last line is `gpu: N failed`.  $SM is another architecture than 90, $MODELS fewer models.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
models=${MODELS:-slp mlp mlp_adam lenet cnn gpt}
failed=0
fail() { echo "FAIL $*"; failed=$((failed + 1)); }

# What is judged by a full run alone goes, and a rate that changes, so that peers need no schedule.
make_model()
{
    sed 's/^ *expect:.*//; s/lr: cosine(1e-3, warmup: 100, min: 1e-4)/lr: 1e-5/' "$top/models/$1.nnd" >"$dir/$1.nnd"
    data=$idx
    [ "$1" = gpt ] && data=$dir/data
    "$build/nnd" compile "$dir/$1.nnd" --entry train --data "$data" --target cuda --cpu "sm_${SM:-90}" -o "$dir/$1-cuda" || fail "$1: no program for a GPU"
    "$build/nnd" compile "$dir/$1.nnd" --entry train --data "$data" --cpu x86-64-v3 -o "$dir/$1-cpu" || fail "$1: no program"
}

make()
{
    build=$1 dir=$2 idx=$3
    mkdir -p "$dir/data" "$dir/lib" && dir=$(cd "$dir" && pwd) && cp "$idx"/*-ubyte* "$dir/data" && cp "$build/tests/test_cuda" "$dir" || exit 1
    cat "$top"/*/README.md "$top"/*/*.c >"$dir/data/book.txt"
    for model in $models; do make_model "$model"; done
    ldd "$dir/test_cuda" "$dir"/*-cuda "$dir"/*-cpu | awk '$3 ~ /^\// { print $3 }' | grep -vE '/(libc|libm|libpthread|libdl)\.so' | sort -u | xargs -I{} cp -L {} "$dir/lib"
    du -sh "$dir"
}

# losses MODEL - of 30 steps, on the GPU and on the processor.
losses()
{
    [ -x "$dir/$1-cuda" ] || return
    for target in cpu cuda; do
        "$dir/$1-$target" --data "$dir/data" --steps 30 --quiet --log-steps "$work/$target.csv" >"$work/$target.out" 2>&1 || { fail "$1-$target: $(tail -n 1 "$work/$target.out")"; return; }
    done
    paste -d, "$work/cpu.csv" "$work/cuda.csv" | awk -F, -v model="$1" '
        NR > 1 { d = $2 - $4; d = d < 0 ? -d : d; m = d > m ? d : m; if (!(d <= 1e-4 * ($2 > 1 ? $2 : 1))) bad = 1 }
        END { printf "%slosses of %s: %d steps differ by %.2g at most\n", bad || NR < 31 ? "FAIL " : "", model, NR - 1, m; exit bad || NR < 31 }' || failed=$((failed + 1))
}

# measure MODEL HOW EPOCHS - the last epoch's seconds, and those of a step.
measure()
{
    [ -x "$dir/$1-cuda" ] || return
    NND_CUDA=$2 "$dir/$1-cuda" --data "$dir/data" --epochs "$3" --quiet --log "$work/log.csv" >"$work/out" 2>&1 || { fail "$1 $2: $(tail -n 1 "$work/out")"; return; }
    awk -F, -v model="$1" -v how="${2:-as chosen}" 'NR > 1 { steps = $2 - before; before = $2; seconds = $NF } END { printf "time: %-9s %-10s %.3f s an epoch, %.1f us a step\n", model, how, seconds, seconds / steps * 1e6 }' "$work/log.csv"
    tail -n 1 "$work/out"
}

run()
{
    dir=$(cd "$1" && pwd) work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    export LD_LIBRARY_PATH="${LD_LIBRARY_PATH-}${LD_LIBRARY_PATH:+:}$dir/lib"
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    for how in '' nographs sync unroll=5; do
        NND_CUDA=$how "$dir/test_cuda" >"$work/out" 2>&1 || { fail "test_cuda, $how"; cat "$work/out"; }
        echo "test_cuda ${how:-as chosen}: $(grep -c '^\[       OK' "$work/out") well"
    done
    for model in $models; do losses "$model"; done
    for model in $models; do measure "$model" '' 2; done
    for how in nographs unroll=1 unroll=4 unroll=32; do measure mlp "$how" 2; done
    python3 "$top/tests/bench/run.py" --target cuda --programs "$dir" --data "$dir/data" --repeat 1 W1 W2 W3 W4 W4b W5 || fail 'run.py'
    echo "gpu: $failed failed"
}

case ${1-} in
make) make "$2" "$3" "$4" ;;
run)  run "$2" ;;
*)    echo 'usage: gpu.sh make BUILD DIR DATA | gpu.sh run DIR' >&2; exit 2 ;;
esac
[ "$failed" = 0 ]
