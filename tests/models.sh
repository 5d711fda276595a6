#!/bin/sh
# models.sh NND NEAR - weights that PyTorch wrote load as they are: models predict what PyTorch does (layers/models.py).
#
# The models are cut down to small sizes, so that the weights may lie here; names and structure are those of their text.
set -u
nnd=$(realpath "$1") near=$(realpath "$2")
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
. tests/tap.sh
w=$work
kept=tests/layers/models

# model NET - $work/NET.nnd with the sizes of layers/models.py
model()
{
    file=models/$1.nnd images='s/28, 28/4, 3/; s/\b784\b/12/g'
    case $1 in
    slp)         sizes= ;;
    mlp)         sizes='s/\b50\b/5/' ;;
    mlp_adam)    sizes='s/\b512\b/6/' ;;
    autoencoder) sizes='s/\b128\b/5/; s/(32)/(3)/' ;;
    vae)         sizes='s/\b400\b/6/g; s/\b20)/2)/' ;;
    gan)         sizes='s/\b256\b/5/; s/\b512\b/6/; s/\b64\]/3]/' ;;
    pinn)        sizes='s/\b32\b/5/g' ;;
    lenet)       sizes='s/x, 8, /x, 2, /; s/x, 16, /x, 3, /; s/120/5/; s/84/4/' images='s/28, 28/16, 16/' ;;
    cnn)         sizes='s/x, 32, /x, 2, /; s/x, 64, /x, 3, /; s/\b128)/5)/' images='s/28, 28/6, 4/' ;;
    resnet)      sizes='s/x, 16/x, 2/; s/x, 32/x, 3/; s/x, 64/x, 4/' images='s/28, 28/8, 7/' ;;
    gpt)         sizes='s/width = 128/width = 8/; s/heads = 4/heads = 2/; s/blocks = 4/blocks = 2/; s/context = 128/context = 6/; s/256/9/' ;;
    lstm)        sizes='s/context = 64/context = 7/; s/letters = 128/letters = 9/; s/hidden = 128/hidden = 5/; s/letters, 32)/letters, 3)/' ;;
    normed)      sizes='s/\b50\b/5/' file=tests/reference/$1.nnd ;;
    attention)   sizes='s/\b32\b/8/' file=tests/reference/$1.nnd ;;
    embedded)    sizes='s/\b112\b/12/' file=tests/reference/$1.nnd ;;
    esac
    sed "$images; $sizes" "$file" >"$w/$1.nnd"
}

# predicts NET WEIGHTS BOUND OPTION... - what is predicted with these weights is what PyTorch predicts.
predicts()
{
    net=$1 weights=$2 bound=$3 x=$kept/$1.x.npy
    shift 3
    case $* in *64*) [ -e "$kept/$net.x64.npy" ] && x=$kept/$net.x64.npy ;; esac
    model "$net" && ends 0 "$nnd" predict "$w/$net.nnd" --weights "$kept/$weights.safetensors" --input "$x" \
        --output "$w/y.npy" "$@" && "$near" "$kept/$net.y.npy" "$w/y.npy" "$bound"
}

# Single precision keeps 1e-5 of the larger of 1 and an output; double precision differs by the order of sums alone.
both()
{
    predicts "$1" "$2" 1e-5 && predicts "$1" "$2" 1e-12 --float 64 || return 1
    predicts "$1" "$2" 1e-12 --float 64 --target interp
}

# Every model that has parameters is here.
all_of_them()
{
    for file in $(grep -lE '^model ' models/*.nnd); do
        [ -e "$kept/$(basename "$file" .nnd).safetensors" ] || { echo "$file: no weights of PyTorch's"; missing=1; }
    done
    [ -z "${missing-}" ]
}

# Weights of another net of the same shapes are told apart: the comparison can fail.
told_apart() { ! predicts slp slp 1e-12 && ! predicts mlp slp 1e-5; }

for file in "$kept"/*.plain.safetensors; do
    net=$(basename "$file" .plain.safetensors)
    ok "$net, written by the package" both "$net" "$net"
    ok "$net, written plainly" both "$net" "$net.plain"
done
ok 'all models are here' all_of_them
ok 'what differs is told apart' told_apart
finish
