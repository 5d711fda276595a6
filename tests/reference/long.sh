#!/bin/sh
# long.sh NND DATA - the long comparison with PyTorch in float64, on any data set in the form of MNIST: 1800 steps of slp
# and mlp over two epochs of all rows, 300 steps of relu with Adam.  Wants python3 with numpy and torch.
#
# Prints the largest relative difference of a step's loss: of nnd in single precision, of its first 50 steps in double,
# and of PyTorch's own single precision.
set -eu
nnd=$(realpath "$1")
data=$(realpath "$2")
cd "$(dirname "$0")/../.."
w=$(mktemp -d)
trap 'rm -rf "$w"' EXIT

record() { python3 tests/reference/record.py --data "$data" --rows 60000 --epochs 2 "$@"; }

most()   # STEPS A B
{
    paste -d, "$2" "$3" | awk -F, -v steps="$1" '
        NR > 1 && NR <= steps + 1 { d = $4 / $2 - 1; d = d < 0 ? -d : d; if (d > most) most = d; n++ }
        END { if (n != steps) exit 1; printf "%.1e", most }'
}

for row in 'slp 1800 models/slp.nnd' 'mlp 1800 models/mlp.nnd' 'relu 300 tests/reference/relu.nnd'; do
    set -- $row
    record --out "$w/64" --steps "$2" "$1"
    record --out "$w/32" --steps "$2" --float 32 "$1"
    for bits in 32 64; do
        "$nnd" train "$3" --data "$data" --init "$w/64/$1.safetensors" --order "$w/64/order.npy" --steps "$2" --float $bits \
            --log-steps "$w/nnd$bits.csv" -q >/dev/null 2>&1
    done
    echo "$1, $2 steps: nnd f32 $(most "$2" "$w/64/$1.csv" "$w/nnd32.csv"), PyTorch f32 $(most "$2" "$w/64/$1.csv" "$w/32/$1.csv")," \
        "nnd f64 (50 steps) $(most 50 "$w/64/$1.csv" "$w/nnd64.csv")"
done
