#!/bin/sh
# epoch.sh [BUILD] - what an epoch of training takes, as a share of what this machine's one thread can do.
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

"$build/tests/peak" >"$work/peak"
"$build/nnd" train "$model" --epochs 5 --time >"$work/epochs" 2>"$work/times"
"$build/tests/peak" >>"$work/peak"

awk -v gflop="$gflop" '
FILENAME ~ /peak$/ { if ($1 > peak) { peak = $1; unit = $3 } next }
/^epoch /          { if (!best || $(NF-1) < best) best = $(NF-1) }
END {
    if (!best) { print "no epoch was trained"; exit 1 }
    printf "epoch    %.2f s, %.1f GFLOP/s\n", best, gflop / best
    printf "peak     %.1f GFLOP/s (%s)\n", peak, unit
    printf "share    %.0f %%\n", 100 * gflop / best / peak
}' "$work/peak" "$work/epochs"
grep '^time: compile' "$work/times"
