#!/bin/sh
# reference.sh NND - training against recorded steps of PyTorch in float64 (reference/README.md): from the same weights and
# rows each loss agrees within 1e-5 of itself, and in double precision the first 50 within 1e-9.
set -u
nnd=$(realpath "$1")
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
. tests/tap.sh
w=$work
ref=tests/reference

# model CASE - $work/CASE.nnd, and the net whose weights it begins with
model()
{
    net=mlp loss='cross_entropy(p, label)' o='optimizer: sgd(lr: 0.1)'
    case $1 in
    slp | mlp) net=$1; sed 's/^    expect.*//' "models/$1.nnd" >"$w/$1.nnd"; return ;;
    relu | normed | attention | embedded | turns | lstm) net=$1; cp "$ref/$1.nnd" "$w/$1.nnd"; return ;;
    gru) net=$1; sed 's/lstm(/gru(/' $ref/lstm.nnd >"$w/gru.nnd"; return ;;
    lenet) net=$1; sed 's/^    expect.*//' models/lenet.nnd >"$w/lenet.nnd"; return ;;
    gpt)
        net=gpt
        cp $ref/book.txt "$w/book.txt"
        sed 's/width = 128/width = 32/; s/blocks = 4/blocks = 2/; s/context = 128/context = 16/; s/batch: .*/batch: 4/; s/^    expect.*//' \
            models/gpt.nnd >"$w/gpt.nnd"
        return ;;
    pinn)
        net=pinn
        sed 's/train: rows(.*/train: rows(60000)/; s/test:  rows(.*/test: rows(10000)/; s/random(row)) .*)/0.5) \/ 60000)/; s/^    expect.*//
            s/optimizer: .*/optimizer: adam(lr: 1e-3)/; s/batch: .*/batch: 64/' models/pinn.nnd >"$w/pinn.nnd"
        return ;;
    shared)
        net=normed
        sed 's/^    minimize.*/    q = normed(u8(f32(image) \/ 2))\n    minimize cross_entropy(p + q, label)/' $ref/normed.nnd >"$w/shared.nnd"
        return ;;
    two)
        sed -e 's/^    minimize.*/&over fc1\n    minimize cross_entropy(p, label) over fc2 with adam()/; s/)over/) over/; s/^    expect.*//' \
            models/mlp.nnd >"$w/two.nnd"
        return ;;
    grouped)    o='optimizer: adamw(weight_decay: 0.1) on *.weight, sgd(lr: 0.1)' ;;
    ignored)    loss='cross_entropy(p, label, smoothing: 0.1, ignore: 3)' ;;
    exponential) o='optimizer: sgd(lr: exponential(0.5, 0.5))' ;;
    multi_step) o='optimizer: sgd(lr: multi_step(0.5, 1, 3))' ;;
    one_cycle)  o='optimizer: sgd(lr: one_cycle(1.0))' ;;
    smoothed)   loss='cross_entropy(p, label, smoothing: 0.1)' ;;
    huber)      loss='huber(p, one_hot(label, 10), delta: 0.3)' o='optimizer: sgd(lr: 0.5)' ;;
    l1)         loss='l1(p, one_hot(label, 10))' o='optimizer: sgd(lr: 0.05)' ;;
    adagrad)    o='optimizer: adagrad(lr_decay: 0.01, weight_decay: 0.01)' ;;
    rmsprop)    o='optimizer: rmsprop(lr: 1e-3, momentum: 0.5, centered: true)' ;;
    lion)       o='optimizer: lion(lr: 1e-3, weight_decay: 0.1)' ;;
    nesterov)   o='optimizer: sgd(lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0.01)' ;;
    dampening)  o='optimizer: sgd(lr: 0.1, momentum: 0.9, dampening: 0.5)' ;;
    adam_decay) o='optimizer: adam(weight_decay: 0.1)' ;;
    adamw)      o='optimizer: adamw(weight_decay: 0.1)' ;;
    clipped)    o='optimizer: sgd(lr: 0.5)
    clip_norm: 0.1' ;;
    cosine)     o='optimizer: sgd(lr: cosine(0.1, warmup: 10))' ;;
    esac
    printf '%s\n' "$o" >"$w/optimizer"
    sed -e "s/^    minimize.*/    minimize $loss/" -e 's/^    expect.*//' \
        -e "/^    optimizer/{r $w/optimizer
            d}" models/mlp.nnd >"$w/$1.nnd"
}

# The same rows as four epochs of 50 steps, for schedules that count epochs: the shape in the header is another one.
LC_ALL=C sed '1s/(1, 12800)/(4, 3200) /' "$ref/order.npy" >"$w/epochs.npy"

# steps CASE - how many are recorded
steps() { grep -c '^[0-9]' "$ref/$1.csv"; }

# train CASE [OPTION...] - its losses to $work/CASE.csv
train()
{
    case=$1
    shift
    model "$case"
    case $case in exponential | multi_step) order=$w/epochs.npy ;; gpt) order=$ref/order_gpt.npy ;; *) order=$ref/order.npy ;; esac
    "$nnd" train "$w/$case.nnd" --init $ref/$net.safetensors --order "$order" --steps "$(steps "$case")" --log-steps "$w/$case.csv" --log "$w/log.csv" -q \
        "$@" >"$w/out" 2>"$w/err" || { cat "$w/err"; return 1; }
}

# near CASE STEPS BOUND - prints the largest relative difference of the first STEPS losses; is it within BOUND?
near()
{
    paste -d, "$ref/$1.csv" "$w/$1.csv" | awk -F, -v steps="$2" -v bound="$3" '
        NR > 1 && NR <= steps + 1 {
            if ($1 != $3) { print "step " $1 " is beside " $3; bad = 1; exit }
            d = $4 / $2 - 1
            d = d < 0 ? -d : d
            if (!(d <= most)) { most = d; at = $1 }
            n++
        }
        END { print "largest difference", most, "in step", at; exit bad || n != steps || !(most <= bound) }'
}

# tested CASE BOUND - and the loss of the test split after them
tested()
{
    awk -F, -v bound="$2" 'FILENAME ~ /log/ && FNR == 1 { for (i = 1; $i != "test_loss"; i++) ; column = i }
        FILENAME ~ /log/ { found = $column; next }
        $1 == "test" { d = found / $2 - 1; d = d < 0 ? -d : d; print "test loss", found, "wanted", $2; exit !(d <= bound) }' \
        "$w/log.csv" "$ref/$1.csv"
}

single() { train "$1" && near "$1" "$(steps "$1")" 1e-5 && tested "$1" 1e-5; }
double() { train "$1" --float 64 && near "$1" 50 1e-9 && tested "$1" 1e-8; }

# The generator's update sees the discriminator as it was: not PyTorch's order, and the comparison says so.
without_then()
{
    model turns
    sed -i '/^    then$/d' "$w/turns.nnd"
    "$nnd" train "$w/turns.nnd" --init $ref/turns.safetensors --order $ref/order.npy --steps 200 --log-steps "$w/turns.csv" -q \
        >"$w/out" 2>"$w/err" && ! near turns 200 1e-5
}

# Another order of rows, or none, is told apart: the comparison can fail.
told_apart()
{
    model slp
    "$nnd" train "$w/slp.nnd" --init $ref/slp.safetensors --steps 200 --log-steps "$w/slp.csv" -q >"$w/out" 2>"$w/err" &&
        ! near slp 200 1e-5 || return 1
    "$nnd" train "$w/slp.nnd" --order $ref/order.npy --steps 200 --log-steps "$w/slp.csv" -q >"$w/out" 2>"$w/err" && ! near slp 200 1e-5
}

if [ ! -e /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz ]; then
    skip 'recorded steps' 'Fashion-MNIST is not installed'
    finish
    exit
fi
for case in slp mlp relu nesterov dampening adam_decay adamw clipped cosine adagrad rmsprop lion grouped two normed attention embedded shared smoothed ignored one_cycle huber l1 turns pinn exponential multi_step lenet gpt lstm gru; do
    ok "$case, single precision" single $case
    [ -n "${NND_FEW-}" ] || ok "$case, double precision" double $case
done
ok 'turns at once are told apart' without_then
ok 'other rows and other weights are told apart' told_apart
finish
