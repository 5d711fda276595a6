#!/bin/sh
# summary.sh NND - nnd summary and nnd devices: figures that are counted by hand, and that agree among themselves.
set -u
nnd=$(realpath "$1")
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
. tests/tap.sh
w=$work

has() { "$nnd" summary "$@" >"$w/out" 2>"$w/err" || { cat "$w/err"; return 1; }; }
line() { grep -qE "$1" "$w/out" || { echo "no line $1"; cat "$w/out"; return 1; }; }

# 784 x 50 + 50 and 50 x 10 + 10 parameters; 2 x 784 x 50 + 50 + 50 operations, and 784 for the division by 255.
mlp()
{
    has models/mlp.nnd && line '^mlp\(image: u8\[N, 28, 28\]\) -> f32\[N, 10\]' && line '^  - +784$' &&
        line '^  fc1 +f32\[N, 50\] +39,250 +78,500$' && line '^  fc2 +f32\[N, 10\] +510 +1,020$' && line '^  total +39,760 +80,304$' &&
        line '^parameters +39,760 trained, 0 not;'
}

slp() { has models/slp.nnd && line '^  fc +f32\[N, 10\] +7,850 +15,700$' && line '^  total +7,850 +16,484$'; }

# The rows add up, whatever the model.
sums()
{
    has "$1" --batch 16 && sed 's/,\([0-9][0-9][0-9]\)/\1/g' "$w/out" | awk '
        $1 == "total"                 { if ($2 != params || $3 != flops) { print params, flops, $0; bad = 1 } n++; next }
        NF >= 2 && $1 != "layer" && !n && /^  / { flops += $NF; if ($1 != "-") params += $(NF - 1) }
        END                           { exit bad || n != 1 }'
}

# Bytes of state: each variable at its own multiple of 64.  Bytes of scratch: as the plan says.
bytes()
{
    has models/mlp.nnd && line 'memory +159,168 bytes of state' || return 1
    "$nnd" dump models/mlp.nnd --after memory --entry train >"$w/plan"
    scratch=$(sed -n 's|^  scratch \([0-9]*\)$|\1|p' "$w/plan")
    sed 's/,\([0-9][0-9][0-9]\)/\1/g' "$w/out" | grep -q " $scratch bytes of scratch for train in batches of 64" || { echo "$scratch"; cat "$w/out"; return 1; }
}

trained_apart()
{
    sed 's/^    minimize/    freeze fc1\n    minimize/; s/optimizer: .*/optimizer: adam()/' models/mlp.nnd >"$w/adam.nnd"
    has "$w/adam.nnd" && line '^parameters +510 trained, 39,250 not; 0 numbers of state, 1,020 of the optimizer$'
}

no_model()
{
    "$nnd" summary models/matmul.nnd >"$w/out" 2>"$w/err"
    [ $? = 1 ] && grep -q 'has no model' "$w/err"
}

devices()
{
    "$nnd" devices >"$w/out" && line '^cpu +.*(AVX|SSE|vectors).*\(default\)$' && line '^cuda' && line '^pictures '
}

ok 'the perceptron' mlp
ok 'the single layer' slp
for model in models/mlp.nnd models/slp.nnd tests/own.nnd; do
    ok "rows of $model add up" sums "$model"
done
ok 'bytes of state and scratch' bytes
ok 'frozen parameters, states of the optimizer' trained_apart
ok 'a file without a model' no_model
ok 'devices' devices
finish
