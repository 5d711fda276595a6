#!/bin/sh
# train.sh NND - training runs as a user starts them, on Fashion-MNIST: what they print and how they end.
set -u
nnd=$(realpath "$1")
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
. tests/tap.sh

# run STATUS ARG... - trains; words in $work/out and $work/err.
run()
{
    want=$1
    shift
    ends "$want" "$nnd" train "$@"
}

# The figures of a run without its seconds.
figures() { sed 's/  [0-9.]* s$//' "$work/out"; }

edit() { sed "$1" models/slp.nnd >"$work/model.nnd"; }

epoch_line()
{
    run 0 models/slp.nnd --epochs 2 || return 1
    f='[0-9]*\.[0-9][0-9]*'
    grep -qxE "epoch 1: loss=[0-9]\.[0-9]{4} accuracy=[0-9]\.[0-9]{3}  test loss=[0-9]\.[0-9]{4} accuracy=[0-9]\.[0-9]{3}  [0-9]+\.[0-9]{2} s" \
        "$work/out" || { cat "$work/out"; return 1; }
    [ "$(wc -l <"$work/out")" = 2 ] || { cat "$work/out"; return 1; }
}

same_twice()
{
    run 0 models/mlp.nnd --steps 50 --seed 7 && figures >"$work/first" &&
        run 0 models/mlp.nnd --steps 50 --seed 7 && figures | diff -u "$work/first" -
}

seeds_differ()
{
    run 0 models/mlp.nnd --steps 50 --seed 8 && figures >"$work/other" && ! cmp -s "$work/first" "$work/other"
}

# A rounding of the printed digits is all that may separate the oracle from compiled code after 20 steps.
targets_agree()
{
    run 0 models/slp.nnd --steps 20 "$@" --target interp && figures | tr '= ' '\n\n' >"$work/oracle" || return 1
    run 0 models/slp.nnd --steps 20 "$@" --target cpu && figures | tr '= ' '\n\n' >"$work/compiled" || return 1
    paste "$work/oracle" "$work/compiled" | awk '
        $1 ~ /^[0-9.]+$/ { d = $1 - $2; if (d > 0.00201 || d < -0.00201) { print; bad = 1 } n++; next }
        $1 != $2         { print; bad = 1 }
        END              { exit bad || n < 4 }'
}

# Moments of 65536 draws, each within four standard errors: of a normal number, of its square and its fourth power, of a coin that falls on 1
# three times in ten, which is 0 or 1 always, and the product of two draws.
drawn()
{
    cat >"$work/draws.nnd" <<'EOF'
nnd 1
data rows(row: i32) { train: rows(64) }
model net(row: i32[N]) -> f32[N] {
    param w: f32[] = zeros
    return w + f32(row)
}
train net on rows {
    minimize mean(net(row)^2)
    x = randn(expand(f32(0), [64, 1024]))
    coin = bernoulli(x, 0.3)
    metric first = mean(x)
    metric second = mean(x^2)
    metric fourth = mean(x^4)
    metric coin = mean(coin)
    metric other = mean(f32(coin != 0 and coin != 1))
    metric two = mean(x * randn(x))
    optimizer: sgd(lr: 0.001)
    batch: 64
    epochs: 1
    seed: 1
}
EOF
    run 0 "$work/draws.nnd" --log "$work/draws.csv" || return 1
    awk -F, 'function near(name, want, error,  d) { d = v[name] - want; if (d < 0) d = -d
                                                      if (!(d <= 4 * error / 256)) { print name, v[name]; bad = 1 } }
        NR == 1 { for (i = 1; i <= NF; i++) name[i] = $i; next }
        { for (i = 1; i <= NF; i++) v[name[i]] = $i }
        END { near("train_first", 0, 1); near("train_second", 1, sqrt(2)); near("train_fourth", 3, sqrt(96))
              near("train_coin", 0.3, sqrt(0.21)); near("train_two", 0, 1)
              exit bad || v["train_other"] != 0 || !("train_two" in v) }' "$work/draws.csv" || { cat "$work/draws.csv"; return 1; }
}

expect_missed()
{
    edit 's/expect: test.accuracy >= .*/expect: test.accuracy >= 0.999/; s/epochs: .*/epochs: 1/'
    run 4 "$work/model.nnd" && grep -q 'test.accuracy >= 0.999' "$work/err" || { cat "$work/err"; return 1; }
}

not_judged()
{
    run 0 "$work/model.nnd" --epochs 1 && grep -q 'test.accuracy >= 0.999' "$work/err"
}

diverges()
{
    cat >"$work/diverge.nnd" <<'END'
nnd 1
data digits(image: u8[28, 28], label: u8) {
    train: idx("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    test:  idx("t10k-images-idx3-ubyte",  "t10k-labels-idx1-ubyte")
}
model far(image: u8[N, 28, 28]) -> f32[N, 10] {
    return fc: linear(flatten(f32(image)), 10)
}
train far on digits {
    minimize mse(far(image), one_hot(label, 10))
    optimizer: sgd(lr: 1000.0)
    batch: 64
    epochs: 3
}
END
    run 5 "$work/diverge.nnd" && grep -q 'loss became' "$work/err" || { cat "$work/err"; return 1; }
}

interrupted()
{
    "$nnd" train models/slp.nnd --epochs 100000 >"$work/out" 2>"$work/err" &
    pid=$!
    for i in $(seq 600); do
        [ -s "$work/out" ] && break
        sleep 0.1
    done
    kill -INT "$pid"
    wait "$pid"
    got=$?
    [ "$got" = 130 ] || { echo "exit status $got"; cat "$work/err"; return 1; }
}

no_train_block()
{
    sed '/^train /,$d' models/slp.nnd >"$work/part.nnd"
    run 1 "$work/part.nnd" && grep -q 'train' "$work/err"
}

quiet()
{
    run 0 models/slp.nnd --epochs 2 --quiet && [ "$(wc -l <"$work/out")" = 1 ] && grep -q '^epoch 2: ' "$work/out" &&
        [ ! -s "$work/err" ] || { cat "$work/out" "$work/err"; return 1; }
}

stage_times()
{
    run 0 models/slp.nnd --steps 1 --time || return 1
    for stage in parse build autodiff fuse schedule load compile data; do
        grep -qE "^time: $stage +[0-9.]+ ms( +[0-9.]+ %)?$" "$work/err" || { echo "no time of $stage"; cat "$work/err"; return 1; }
    done
    grep -qE '^time: run_train_64 +[0-9.]+ ms: write [0-9.]+, optimise [0-9.]+, code [0-9.]+, link [0-9.]+$' "$work/err" || { echo "no time of code"; return 1; }
}

# Of 10 million numbers three in ten are 0, the mean stays; evaluation drops nothing; the same on any threads.
drops()
{
    sed -e 's/p = slp(image)/&\n    d = dropout(f32(image) * 0 + 1, p: 0.3)/' -e 's/^    metric.*/    metric zero = mean(d == 0)\n    metric kept = mean(d)/' \
        -e 's/^    expect.*//' models/slp.nnd >"$work/drop.nnd"
    run 0 "$work/drop.nnd" --steps 200 --threads 1 --log "$work/1.csv" && run 0 "$work/drop.nnd" --steps 200 --threads 3 --log "$work/3.csv" || return 1
    cut -d, -f1-8 "$work/1.csv" >"$work/1" && cut -d, -f1-8 "$work/3.csv" | cmp - "$work/1" || return 1
    awk -F, 'NR == 2 { exit !($4 > 0.2995 && $4 < 0.3005 && $5 > 0.999 && $5 < 1.001 && $7 == 0 && $8 == 1) }' "$work/1" || { cat "$work/1"; return 1; }
}

device_first()
{
    run 0 models/slp.nnd --steps 1 && grep -qE '^device' "$work/err" || { cat "$work/err"; return 1; }
}

data_beside_the_model()
{
    mkdir "$work/here" && cp models/slp.nnd /usr/share/datasets/fashion-mnist/*.gz "$work/here" &&
        run 0 "$work/here/slp.nnd" --steps 5
}

data_by_environment()
{
    mkdir "$work/empty"
    (NND_DATA=$work/here run 0 models/slp.nnd --steps 5) && (NND_DATA=$work/empty run 0 models/slp.nnd --steps 5)
}

own()
{
    "$nnd" check --verify tests/own.nnd && run 0 tests/own.nnd --quiet &&
        awk '{ sub(/.*test .*accuracy=/, ""); exit !($1 > 0.75) }' "$work/out" || { cat "$work/out"; return 1; }
}

own_constant()
{
    run 0 tests/own.nnd --quiet -D width=7 && figures >"$work/seven" &&
        run 0 tests/own.nnd --quiet -Dwidth=8 && figures >"$work/eight" && ! cmp -s "$work/seven" "$work/eight"
}

ok 'the line of an epoch' epoch_line
ok 'the device is named' device_first
ok 'the same seed gives the same figures' same_twice
ok 'another seed gives others' seeds_differ
ok 'interp and cpu agree' targets_agree
ok 'in double precision as well' targets_agree --float 64
ok 'without simplify' targets_agree --skip simplify
ok 'an odd batch' targets_agree --batch 37
ok 'an expect is missed' expect_missed
ok 'an expect of another run is not judged' not_judged
ok 'training that diverges' diverges
ok 'Ctrl-C' interrupted
ok 'no train block' no_train_block
ok '--quiet' quiet
ok '--time' stage_times
ok 'data beside the model' data_beside_the_model
ok 'data by the environment' data_by_environment
ok "a layer, a loss and an optimiser of the user's own" own
ok 'a constant from the command line' own_constant
ok 'models/slp.nnd keeps its promise' run 0 models/slp.nnd
ok 'models/mlp.nnd keeps its promise' run 0 models/mlp.nnd
ok 'models/pinn.nnd keeps its promise' run 0 models/pinn.nnd
if [ -z "${NND_FEW-}" ]; then            # under sanitizers, which do not look into compiled steps, epochs of them show nothing more
    ok 'models/mlp_adam.nnd keeps its promise' run 0 models/mlp_adam.nnd
    ok 'models/autoencoder.nnd keeps its promise' run 0 models/autoencoder.nnd
    ok 'models/lenet.nnd keeps its promise' run 0 models/lenet.nnd
fi
ok 'dropout' drops
ok 'draws have their means' drawn
finish
