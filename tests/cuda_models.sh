#!/bin/sh
# cuda_models.sh NND NEAR - models trained through a stand-in for NVIDIA's driver that interprets PTX, beside the cpu.
#
# $NND_PTXRUN is the folder with its libcuda.so.1.  It tells races, reads of memory that nothing has written and accesses
# outside of a buffer, so a run must not say a word.  With NND_FEW only the models that take a second.
set -u
nnd=$(realpath "$1") near=$(realpath "$2") few=${NND_FEW-}
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
. tests/tap.sh
w=$work
if [ -z "${NND_PTXRUN-}" ]; then
    skip 'models on a GPU' 'NND_PTXRUN is not set: no interpreter of PTX'
    finish
    exit
fi

# gpu SEED COMMAND... - groups and warps run in the order of this seed.
gpu() { seed=$1; shift; LD_LIBRARY_PATH=$NND_PTXRUN PTXRUN_RACE=1 PTXRUN_SEED=$seed "$@"; }

# quiet COMMAND... - succeeds, and says nothing on stderr.
quiet() { ends 0 "$@" && [ ! -s "$w/err" ] || { cat "$w/err"; return 1; }; }

# A model without what is evaluated behind an epoch: ten thousand rows are too many for an interpreter.  Of lenet half of the channels.
small()
{
    sed '/^ *test:/d; /^ *expect:/d; s/conv2d(x, 8, 5)/conv2d(x, 4, 5)/; s/conv2d(x, 16, 5)/conv2d(x, 8, 5)/' "models/$1.nnd" >"$w/$1.nnd"
}

# losses A B [MOST] - steps' losses of two logs differ by MOST at most, 1e-5 if it isn't given.
losses()
{
    paste -d, "$1" "$2" | awk -F, -v most="${3:-1e-5}" '
        NR > 1 { n++; d = $2 - $4; if ($1 != $3 || !(d * d <= most * most)) { print "step " $1 ": " $2 " and " $4; bad = 1 } }
        END { exit bad || n < 20 }'
}

# trains MODEL ARG... - 20 steps have the losses of the cpu's, in two orders of groups, and end with the same weights.
trains()
{
    model=$1
    shift
    small "$model"
    ends 0 "$nnd" train "$w/$model.nnd" --data "$data" --steps 20 -q "$@" --log-steps "$w/cpu.csv" --save "$w/$model-cpu.st" || return 1
    for seed in $seeds; do
        quiet gpu "$seed" "$nnd" train "$w/$model.nnd" --data "$data" --steps 20 -q "$@" --target cuda --log-steps "$w/cuda.csv" --save "$w/$model-$seed.st" &&
            losses "$w/cpu.csv" "$w/cuda.csv" || return 1
    done
}

# rounded PRECISION MOST MODEL ARG... - so far from the cpu's losses that the rounding of factors explains it, the same in two orders, and other weights than
# without it.
rounded()
{
    precision=$1 most=$2 model=$3
    shift 3
    small "$model" && sed "s/^ *batch:/    precision: $precision\n&/" "$w/$model.nnd" >"$w/rounded.nnd"
    ends 0 "$nnd" train "$w/$model.nnd" --data "$data" --steps 20 -q "$@" --log-steps "$w/cpu.csv" --save "$w/$model-cpu.st" || return 1
    for seed in $seeds; do
        quiet gpu "$seed" "$nnd" train "$w/rounded.nnd" --data "$data" --steps 20 -q "$@" --target cuda --log-steps "$w/cuda.csv" --save "$w/rounded-$seed.st" &&
            losses "$w/cpu.csv" "$w/cuda.csv" "$most" || return 1
    done
    same_weights rounded && ! cmp -s "$w/rounded-1.st" "$w/$model-1.st"
}

# The same run twice is the same run: no sum depends on the order in which groups come.
same_weights() { cmp "$w/$1-1.st" "$w/$1-2.st"; }

# Factors of 11 and of 8 bits: losses of some steps are near those of f32, and not the same.
rounds()
{
    quiet gpu 1 "$nnd" train "$w/mlp.nnd" --data "$data" --steps 4 -q --target cuda --log-steps "$w/f32.csv" || return 1
    for precision in tf32 bf16; do
        sed "s/^\( *\)batch:.*/&\n\1precision: $precision/" "$w/mlp.nnd" >"$w/$precision.nnd"
        quiet gpu 2 "$nnd" train "$w/$precision.nnd" --data "$data" --steps 4 -q --target cuda --log-steps "$w/$precision.csv" || return 1
        paste -d, "$w/f32.csv" "$w/$precision.csv" | awk -F, -v precision=$precision '
            NR > 1 { d = ($4 - $2) / $2; d = d < 0 ? -d : d; most = d > most ? d : most; if (!(d <= most)) bad = 1; n++ }
            END { print precision, n, most; exit bad || n != 4 || most == 0 || most > (precision == "tf32" ? 1e-3 : 1e-2) }' || return 1
    done
}

rows()
{
    printf 'nnd 1\nx = u8(select(reshape(iota(52528), [67, 28, 28]) < 30000, 9, 100))\nshow x\n' >"$w/rows.nnd" && "$nnd" run "$w/rows.nnd" --out "$w" >"$w/said"
}

# 67 rows: a batch of 64, the rest one by one.  Weights of either target serve both.
predicts()
{
    rows && quiet "$nnd" predict models/mlp.nnd --weights "$w/mlp-cpu.st" --input "$w/x.npy" --output "$w/want.npy" || return 1
    for weights in cpu 1; do
        quiet gpu 1 "$nnd" predict models/mlp.nnd --weights "$w/mlp-$weights.st" --input "$w/x.npy" --output "$w/found.npy" --target cuda &&
            "$near" "$w/want.npy" "$w/found.npy" 1e-5 || return 1
    done
    quiet "$nnd" predict models/mlp.nnd --weights "$w/mlp-1.st" --input "$w/x.npy" --output "$w/found.npy" && "$near" "$w/want.npy" "$w/found.npy" 1e-5
}

figures() { sed 's/  [0-9.]* s$//' "$w/out"; }

evaluates()
{
    quiet "$nnd" eval models/slp.nnd --weights "$w/slp-cpu.st" && cp "$w/out" "$w/want" &&
        quiet gpu 1 "$nnd" eval models/slp.nnd --weights "$w/slp-cpu.st" --target cuda && diff "$w/want" "$w/out"
}

# A run that begins with weights of a file, and trains on.
goes_on()
{
    for target in cpu cuda; do
        quiet gpu 1 "$nnd" train "$w/slp.nnd" --init "$w/slp-1.st" --steps 20 -q --target $target --log-steps "$w/$target.csv" || return 1
    done
    losses "$w/cpu.csv" "$w/cuda.csv"
}

# Programs hold PTX: they need no compiler, and a driver only when they run.
programs()
{
    ends 0 "$nnd" compile "$w/slp.nnd" --entry train --target cuda --cpu sm_75 -o "$w/slp-train" &&
        quiet gpu 1 "$nnd" train "$w/slp.nnd" --steps 20 -q --target cuda --cpu sm_75 --save "$w/driver.st" && figures >"$w/want" &&
        quiet gpu 1 "$w/slp-train" --steps 20 --quiet --save "$w/program.st" && figures | diff "$w/want" - && cmp "$w/driver.st" "$w/program.st" &&
        ! ldd "$w/slp-train" | grep -E 'LLVM|cuda'
}
program_predicts()
{
    ends 0 "$nnd" compile models/mlp.nnd --weights "$w/mlp-cpu.st" --target cuda --cpu sm_75 -o "$w/mlp" && rows &&
        quiet gpu 1 "$nnd" predict models/mlp.nnd --weights "$w/mlp-cpu.st" --input "$w/x.npy" --output "$w/want.npy" --target cuda --cpu sm_75 &&
        quiet gpu 1 "$w/mlp" --input "$w/x.npy" --output "$w/found.npy" && cmp "$w/want.npy" "$w/found.npy"
}
no_driver()
{
    printf 'nothing' >"$w/libcuda.so.1"
    ends 6 env LD_LIBRARY_PATH="$w" "$w/slp-train" --steps 1 --quiet && said '^.*/slp-train: error: libcuda.so.1 cannot be loaded: ' &&
        ends 6 env LD_LIBRARY_PATH="$w" "$w/mlp" --input "$w/x.npy" --output "$w/y.npy" && said '^.*/mlp: error: libcuda.so.1 cannot be loaded: ' &&
        ends 6 gpu 1 "$w/mlp" --device 1 --input "$w/x.npy" --output "$w/y.npy" && said 'cuda:1: there is no such device, only cuda:0$'
}

# Values of a file without a model.
values()
{
    printf 'nnd 1\na = f32(reshape(iota(12), [3, 4]))\nb = a @ transpose(a) + 1\nshow b\nc = sum(exp(-a), axis: 0)\nshow c\n' >"$w/v.nnd"
    quiet "$nnd" run "$w/v.nnd" && cp "$w/out" "$w/want" && quiet gpu 1 "$nnd" run "$w/v.nnd" --target cuda && diff "$w/want" "$w/out"
}

verified() { quiet gpu 1 "$nnd" check --verify models/slp.nnd --target cuda; }

cat README.md >"$w/book.txt"
seeds='1 2' data=/usr/share/datasets/fashion-mnist
[ -z "${NND_DATA-}" ] || data=$NND_DATA
ok 'slp trains' trains slp
ok 'mlp trains' trains mlp
ok 'with the same bits in any order' same_weights mlp
ok 'mlp trains with factors rounded to tf32' rounded tf32 1e-4 mlp
ok 'mlp trains with factors rounded to bf16' rounded bf16 1e-3 mlp
ok 'with rounded factors' rounds
ok 'predict' predicts
ok 'eval' evaluates
ok 'weights of a file' goes_on
ok 'a program that trains' programs
ok 'a program that predicts' program_predicts
ok 'programs without a driver' no_driver
ok 'values' values
ok 'check --verify' verified
if [ -z "$few" ]; then
    ok 'a small lenet trains' trains lenet --batch 4
    ok 'with the same bits in any order' same_weights lenet
    ok 'a small lenet trains with factors rounded to tf32' rounded tf32 5e-3 lenet --batch 4
    data=$w
    ok 'a small gpt trains' trains gpt --batch 4 -D width=32 -D heads=2 -D blocks=1 -D context=16
    ok 'with the same bits in any order' same_weights gpt
fi
finish
