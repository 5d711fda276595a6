#!/bin/sh
# compile.sh - what compiling a GPT takes as it gets deeper: sh tests/bench/compile.sh build/nnd [BLOCKS...]
#
# A line a depth, in milliseconds: the check and the building of the graphs, all passes, LLVM's part of the entries init and train.
# The training step is run once, with a batch of one on a text of 20 KB, as compiling is what is looked at.
set -eu

nnd=$1
shift
model=$(dirname "$0")/../../models/gpt.nnd
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
yes 'The quick brown fox jumps over the lazy dog.' | head -c 20000 >"$work/book.txt"

printf '%6s %8s %8s %8s %8s %8s\n' blocks check build passes init train
for blocks in ${*:-4 8 16 32 64}; do
    "$nnd" train "$model" -D blocks="$blocks" --batch 1 --data "$work" --steps 1 --threads 1 --time --quiet 2>"$work/times" >"$work/out" ||
        { cat "$work/times" >&2; exit 1; }
    awk -v blocks="$blocks" '
        $1 != "time:" { next }
        $2 == "check" || $2 == "build" { ms[$2] = $3 }
        $6 == "%" { ms["passes"] += $3 }
        $2 ~ /^run_init_/ { ms["init"] = $3 }
        $2 == "run_train_1" { ms["train"] = $3 }
        END { printf "%6d %8.1f %8.1f %8.1f %8.1f %8.1f\n", blocks, ms["check"], ms["build"], ms["passes"], ms["init"], ms["train"] }' "$work/times"
done
