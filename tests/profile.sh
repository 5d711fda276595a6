#!/bin/sh
# profile.sh NND - nnd profile on Fashion-MNIST: what it counts, its trace, what it refuses.  Times are not looked at.
set -u
nnd=$(realpath "$1")
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
. tests/tap.sh

profile()
{
    want=$1
    shift
    ends "$want" "$nnd" profile "$@"
}

# Every kernel of the plan has a line, with a number in each column and a line of a text.
columns()
{
    profile 0 models/mlp.nnd --threads 1 --steps 3 || return 1
    head -n 1 "$work/out" | grep -q '^kernel .*calls .*us/step .*GFLOP/s .*GB/s .*limit% .*computes .*line$' || return 1
    "$nnd" dump models/mlp.nnd --after memory --entry train --batch 64 | grep -o 'kernel k[0-9t]*' | awk '{ print $2 }' | sort >"$work/kernels"
    awk '/^k[0-9]/ { print $1 }' "$work/out" | sort | diff -u "$work/kernels" - || return 1
    awk '/^k[0-9]/ { for (i = 2; i <= 7; i++) if ($i !~ /^[0-9.]+$/) exit 1; if ($NF !~ /^(models\/mlp.nnd|<prelude\/.*>):[0-9]+$|\.(weight|bias)$/) exit 1 }' \
        "$work/out" && grep -q '^step: [0-9.]* us, [0-9.]* in [0-9]* kernels; mean of 3$' "$work/out" &&
        grep -q '^limit: [0-9.]* GFLOP/s ([a-z0-9]*) and [0-9.]* GB/s, measured' "$work/out"
}

# The longest stands first.
sorted() { awk '/^k[0-9]/ { if (n++ && $3 > before) exit 1; before = $3 } END { exit n < 5 }' "$work/out"; }

# GFLOP/s times seconds are the contraction's FLOPs: 2 * 64 * 784 * 50 forward, with what stands behind it.
counts()
{
    awk '/dot add sigmoid/ && /fc1/ { flop += $5 * $3 * 1000 } END { exit !(flop > 4.9e6 && flop < 5.3e6) }' "$work/out"
}

# A scan's kernels are called once a step of it.
scans()
{
    sed 's/^    expect.*//' tests/reference/lstm.nnd >"$work/lstm.nnd" && profile 0 "$work/lstm.nnd" --threads 1 --steps 2 &&
        awk '/^k[0-9]/ && $2 == 28 { n++ } END { exit n < 2 }' "$work/out"
}

traced()
{
    profile 0 models/mlp.nnd --threads 1 --steps 4 --trace "$work/t.json" || return 1
    calls=$(awk '/^k[0-9]/ { n += $2 } END { print n * 4 }' "$work/out")
    [ "$(grep -c '"ph": "X"' "$work/t.json")" = "$calls" ] && [ "$(grep -c '"dur": [0-9.]*' "$work/t.json")" = "$calls" ] &&
        head -n 1 "$work/t.json" | grep -qx '{' && tail -n 1 "$work/t.json" | grep -qx '}'
}

threads() { profile 0 models/mlp.nnd --threads 2 --steps 3 && grep -q '^step: ' "$work/out"; }

batch() { profile 0 models/mlp.nnd --batch 32 --steps 2 --threads 1 && grep -q 'mean of 2$' "$work/out"; }

no_train()
{
    echo 'nnd 1
model m(x: f32[N, 4]) -> f32[N, 2] { return fc: linear(x, 2) }' >"$work/m.nnd"
    profile 1 "$work/m.nnd" && said 'm.nnd has no train block'
}

too_few() { profile 2 models/mlp.nnd --batch 20000 && said 'an epoch has 3 whole batches of 20000 rows, profile wants 6'; }

no_kernels() { profile 2 models/mlp.nnd --target interp && said 'the target interp has no kernels'; }

not_written() { profile 3 models/mlp.nnd --steps 1 --threads 1 --trace "$work/no/t.json" && said 'no/t.json'; }

ok 'columns' columns
ok 'sorted' sorted
ok 'FLOPs' counts
ok 'kernels of a scan' scans
ok 'a trace of every call' traced
ok 'two threads' threads
ok 'another batch' batch
ok 'a model that does not train' no_train
ok 'too few batches' too_few
ok 'a target without kernels' no_kernels
ok 'a trace that cannot be written' not_written
finish
