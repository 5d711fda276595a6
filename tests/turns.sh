#!/bin/sh
# turns.sh NND - losses that take turns (`then`): three numbers, each of which steps towards what the ones before it have become.
#
# The steps are written a second time here, for awk: what a loss behind `then` reads has moved, what was computed before has not;
# functions of gradients see one turn's alone; every optimizer has its own state and its own schedule.
set -u
nnd=$(realpath "$1")
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
. tests/tap.sh
w=$work

# Three rows in batches of two: the short batch is another graph with the same turns.
cat >"$w/turns.nnd" <<'END'
nnd 1
data rows(row: i32) {
    train: rows(3)
    test:  rows(3)
}

fn number(start: float) -> f32 {
    param v: f32 = start
    return v
}

model net(x: f32[N]) -> f32[N] { return x * (a: number(2)) + (b: number(-1)) + (c: number(0.5)) }

train net on rows {
    before = net(f32(row) * 0)
    minimize (a.v - 1)^2 over a with sgd(lr: 0.1, momentum: 0.9)
    then
    minimize (b.v - a.v)^2 over b with sgd(lr: 0.2)
    then
    minimize (c.v - a.v * b.v)^2 over c with sgd(lr: multi_step(0.1, 1, 2))
    metric old = mean(before)
    metric new = c.v + 10 * b.v + 100 * a.v

    clip_norm: 0.5
    optimizer: sgd()
    batch: 2
    epochs: 3
}
END

# Figures of each epoch, weighted by rows.  In evaluation nothing moves.
steps()
{
    awk -v OFMT=%.12g 'function clipped(g,  n) { n = g < 0 ? -g : g; return n + 1e-6 > 0.5 ? g * 0.5 / (n + 1e-6) : g }
        function step(rows) {
            loss += rows * (a - 1)^2
            old += rows * (b + c)
            m = 0.9 * m + clipped(2 * (a - 1)); a -= 0.1 * m
            loss_b += rows * (b - a)^2
            b -= 0.2 * clipped(2 * (b - a))
            loss_c += rows * (c - a * b)^2
            new += rows * (c + 10 * b + 100 * a)
            c -= 0.1 * 0.1^(epoch - 1) * clipped(2 * (c - a * b))
        }
        BEGIN {
            a = 2; b = -1; c = 0.5
            for (epoch = 1; epoch <= 3; epoch++) {
                loss = loss_b = loss_c = old = new = 0
                step(2); step(1)
                print loss / 3, loss_b / 3, loss_c / 3, old / 3, new / 3, \
                    (a - 1)^2, (b - a)^2, (c - a * b)^2, b + c, c + 10 * b + 100 * a
            }
        }'
}

# Figures and steps are sums of a few numbers below 1000 in double precision; the log keeps nine digits.
turns()
{
    ends 0 "$nnd" train "$w/turns.nnd" --float 64 --log "$w/log.csv" "$@" || return 1
    steps >"$w/want"
    tail -n +2 "$w/log.csv" | cut -d, -f3-12 | tr , ' ' | paste -d' ' - "$w/want" | awk '
        { for (i = 1; i <= 10; i++) { d = $i - $(i + 10); if (!(d < 1e-6 && d > -1e-6)) { print "epoch " NR ", figure " i ": " $i ", not " $(i + 10); bad = 1 } } }
        END { exit bad || NR != 3 }'
}

# Without the first `then`, b follows where a was: the comparison can fail.
told_apart()
{
    awk '!/^    then$/ || n++' "$w/turns.nnd" >"$w/other.nnd" && mv "$w/other.nnd" "$w/turns.nnd" && ! turns
}

ok 'three turns, compiled' turns
ok 'three turns, one thread' turns --threads 1
ok 'three turns, by the oracle' turns --target interp
ok 'the passes keep them' ends 0 "$nnd" check --verify "$w/turns.nnd"
ok 'a turn fewer is told apart' told_apart
finish
