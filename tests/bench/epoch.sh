#!/bin/sh
# epoch.sh [BUILD] - what an epoch of training takes on one thread, as a share of what that thread can do, and on two;
# and how long it takes from the program's start to the first trained steps.
#
# The peak is measured right before and right after the training, in the same run, and the better one counts: on a
# shared machine it moves.  The FLOPs of an epoch of models/mlp.nnd are counted from its contractions, 2 a multiply-add:
# 60000 rows x (784 x 50 forward and weight gradient, 50 x 10 forward, weight gradient and input gradient) x 2.
set -eu
cd "$(dirname "$0")/../.."
build=${1:-build}
model=models/mlp.nnd
gflop=9.58
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

train() { "$build/nnd" train "$model" "$@"; }

"$build/tests/peak" >"$work/peak"
train --epochs 5 --threads 1 >"$work/one" 2>/dev/null
train --epochs 5 --threads 2 >"$work/two" 2>/dev/null
"$build/tests/peak" >>"$work/peak"
for i in 1 2 3 4 5; do
    "$build/nnd" version >/dev/null
    begun=$(date +%s%N)
    "$build/nnd" version >/dev/null
    echo "$((($(date +%s%N) - begun) / 1000000))" >>"$work/process"
    train --steps 8 --time 2>&1 >/dev/null | awk '/^time: first step/ { print $(NF-1) }' >>"$work/first"
done

awk -v gflop="$gflop" '
function least(x, y) { return !x || y < x ? y : x }
FILENAME ~ /peak$/        { if ($1 > peak) { peak = $1; unit = $3; sub(/,/, "", unit) } }
FILENAME ~ /process$/     { process = least(process, $1) }
FILENAME ~ /first$/       { first = least(first, $1) }
FILENAME ~ /one$/ && /^epoch / { one = least(one, $(NF-1)) }
FILENAME ~ /two$/ && /^epoch / { two = least(two, $(NF-1)) }
END {
    if (!one) { print "no epoch was trained"; exit 1 }
    printf "epoch, one thread    %.2f s, %.1f GFLOP/s\n", one, gflop / one
    printf "epoch, two threads   %.2f s\n", two
    printf "peak, one thread     %.1f GFLOP/s (%s)\n", peak, unit
    printf "share                %.0f %%\n", 100 * gflop / one / peak
    printf "start to first step  %.0f ms, and %.0f to load the program\n", first, process
}' "$work/peak" "$work/one" "$work/two" "$work/process" "$work/first"
