#!/bin/sh
# weights.sh NND - weights in and out, orders, logs, evaluation, predictions and pictures, as a user asks for them.
set -u
nnd=$(realpath "$1")
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
. tests/tap.sh
w=$work

# run STATUS COMMAND ARG... - words in $work/out and $work/err.
run()
{
    want=$1
    shift
    ends "$want" "$nnd" "$@"
}

# array NAME EXPRESSION - NAME.npy in $work, made by nnd itself
array()
{
    printf 'nnd 1\n%s = %s\nshow %s\n' "$1" "$2" "$1" >"$w/array.nnd"
    "$nnd" run "$w/array.nnd" --out "$w" >/dev/null
}

saved()
{
    run 0 train models/mlp.nnd --steps 60 --save "$w/a.safetensors" --log-steps "$w/a.csv" --log "$w/epochs.csv" &&
        said "saved: $w/a.safetensors" && [ "$(wc -c <"$w/a.safetensors")" -gt 159040 ]
}

step_log()
{
    [ "$(head -n 1 "$w/a.csv")" = step,loss ] && [ "$(wc -l <"$w/a.csv")" = 61 ] &&
        awk -F, 'NR > 1 && ($1 != NR - 1 || $2 !~ /^0?\.?[0-9.e-]+$/ || $2 <= 0) { print; bad = 1 } END { exit bad }' "$w/a.csv"
}

epoch_log()
{
    [ "$(head -n 1 "$w/epochs.csv")" = epoch,steps,train_loss,train_accuracy,test_loss,test_accuracy,seconds ] &&
        grep -qE '^1,60,0\.[0-9]+,0\.[0-9]+,0\.[0-9]+,0\.[0-9]+,[0-9.]+$' "$w/epochs.csv" || { cat "$w/epochs.csv"; return 1; }
}

# What was loaded is what was saved: the same evaluation, and the same bytes written again.
loaded()
{
    run 0 eval models/mlp.nnd --weights "$w/a.safetensors" || return 1
    accuracy=$(sed 's/.*accuracy=\([0-9.]*\).*/\1/' "$w/out")
    awk -F, -v a="$accuracy" 'NR == 2 { exit !(a - $6 < 0.0006 && $6 - a < 0.0006) }' "$w/epochs.csv" || { cat "$w/out"; return 1; }
    array none 'reshape(i64(iota(64)), [1, 64])'
    run 0 train models/mlp.nnd --init "$w/a.safetensors" --order "$w/none.npy" --steps 1 --save "$w/b.safetensors" &&
        ! cmp -s "$w/a.safetensors" "$w/b.safetensors"
}

evaluates_train()
{
    run 0 eval models/mlp.nnd --weights "$w/a.safetensors" --split train &&
        grep -qE '^train: loss=0\.[0-9]{4} accuracy=0\.[0-9]{3}  60000 rows$' "$w/out" || { cat "$w/out"; return 1; }
}

# At -O0 most kernels are plain loops of their own, at -O3 LLVM rewrites them all.
levels_agree()
{
    for n in 0 1 3; do
        run 0 train models/lenet.nnd --steps 2 -O$n --save "$w/O$n.safetensors" || return 1
    done
    cmp "$w/O0.safetensors" "$w/O1.safetensors" && cmp "$w/O1.safetensors" "$w/O3.safetensors"
}

threads_agree()
{
    for n in 1 2 4; do
        run 0 train models/mlp.nnd --steps 200 --threads $n --save "$w/t$n.safetensors" --log-steps "$w/t$n.csv" || return 1
    done
    cmp "$w/t1.safetensors" "$w/t2.safetensors" && cmp "$w/t1.safetensors" "$w/t4.safetensors" && cmp "$w/t1.csv" "$w/t4.csv"
}

again_the_same()
{
    run 0 train models/mlp.nnd --steps 200 --save "$w/again.safetensors" && cmp "$w/t1.safetensors" "$w/again.safetensors"
}

avx2_the_same()
{
    grep -q avx512f /proc/cpuinfo || { echo 'no AVX-512 to compare with'; return 0; }
    run 0 train models/mlp.nnd --steps 200 --cpu x86-64-v3 --save "$w/v3.safetensors" && cmp "$w/t1.safetensors" "$w/v3.safetensors"
}

# An order of its own rows, in epochs of 96 rows: a batch of 64 and a short one.
ordered()
{
    array order 'reshape(i64(iota(192)), [2, 96])'
    run 0 train models/slp.nnd --order "$w/order.npy" --log-steps "$w/o.csv" && [ "$(wc -l <"$w/o.csv")" = 5 ] || return 1
    run 0 train models/slp.nnd --order "$w/order.npy" --epochs 1 --log-steps "$w/o1.csv" && [ "$(wc -l <"$w/o1.csv")" = 3 ] || return 1
    head -n 3 "$w/o.csv" | cmp - "$w/o1.csv"
}

order_too_short() { run 2 train models/slp.nnd --order "$w/order.npy" --epochs 3 && said 'wanted 3, the order has 2'; }

order_of_other_rows()
{
    array far 'reshape(i64(iota(96)) + 59999, [1, 96])'
    run 3 train models/slp.nnd --order "$w/far.npy" && said 'far.npy: wanted rows 0..59999 of the train split, found 60000'
}

order_of_floats()
{
    array real 'reshape(f32(iota(96)), [1, 96])'
    run 3 train models/slp.nnd --order "$w/real.npy" && said 'wanted row numbers i64\[epochs, n\], found f32'
}

order_smaller_than_batch()
{
    array few 'reshape(i64(iota(10)), [1, 10])'
    run 2 train models/slp.nnd --order "$w/few.npy" && said 'batch: 64 is larger than'
}

other_models_weights()
{
    run 3 train models/slp.nnd --init "$w/a.safetensors" --steps 1 && said 'a.safetensors: ' && said 'fc2.weight' || return 1
    run 3 eval models/slp.nnd --weights "$w/a.safetensors" && said 'fc2.weight'
}

no_weights() { run 3 eval models/mlp.nnd --weights "$w/nowhere.safetensors" && said 'nowhere.safetensors: '; }

weights_cut()
{
    head -c 100000 "$w/a.safetensors" >"$w/cut.safetensors"
    run 3 eval models/mlp.nnd --weights "$w/cut.safetensors" && said 'cut.safetensors: '
}

weights_wanted()
{
    run 2 eval models/mlp.nnd && said 'wants --weights FILE' && run 2 predict models/mlp.nnd --grid 10 && said 'wants --weights FILE'
}

# A full disk costs the file that it hits, and leaves the old one.
full_disk()
{
    cp "$w/a.safetensors" "$w/old.safetensors"
    (ulimit -f 100 && run 3 train models/mlp.nnd --steps 5 --save "$w/old.safetensors") &&
        said 'old.safetensors: ' && cmp "$w/a.safetensors" "$w/old.safetensors" && [ "$(ls "$w" | grep -c old.safetensors)" = 1 ]
}

full_device() { run 3 train models/slp.nnd --steps 5 --save /dev/full && said '/dev/full: .*No space left'; }

# The log is lost, the weights are not.
log_fails()
{
    run 3 train models/slp.nnd --steps 5 --log-steps /dev/full --log "$w/no/where.csv" --save "$w/kept.safetensors" &&
        said '/dev/full: .*No space left' && said 'no/where.csv: .*No such file' && [ -s "$w/kept.safetensors" ]
}

predicted()
{
    array x 'u8(select(reshape(iota(78400), [100, 28, 28]) < 40000, 17, 200))'
    run 0 predict models/mlp.nnd --weights "$w/a.safetensors" --input "$w/x.npy" --output "$w/y.npy" || return 1
    [ "$(wc -c <"$w/y.npy")" = $((128 + 100 * 10 * 4)) ] || { wc -c "$w/y.npy"; return 1; }
    run 0 predict models/mlp.nnd --weights "$w/a.safetensors" --input "$w/x.npy" --output "$w/y1.npy" --threads 1 &&
        cmp "$w/y.npy" "$w/y1.npy"
}

# What a row gives does not depend on how many others there are: 48 rows run along the lanes of vectors, 3 do not.
alone_or_not()
{
    run 0 train "models/$1.nnd" --steps 5 --save "$w/net.safetensors" || return 1
    array few 'u8(reshape(iota(3 * 784), [3, 28, 28]) * 37)' && array many 'u8(reshape(iota(48 * 784), [48, 28, 28]) * 37)' || return 1
    for n in few many; do
        run 0 predict "models/$1.nnd" --weights "$w/net.safetensors" --input "$w/$n.npy" --output "$w/$n.y.npy" || return 1
    done
    tail -c +129 "$w/few.y.npy" >"$w/few.y" && tail -c +129 "$w/many.y.npy" | head -c "$(wc -c <"$w/few.y")" | cmp - "$w/few.y"
}

predicted_shape()
{
    array flat 'u8(reshape(iota(784), [1, 784]))'
    run 3 predict models/mlp.nnd --weights "$w/a.safetensors" --input "$w/flat.npy" --output "$w/z.npy" &&
        said 'flat.npy: wanted u8\[n, 28, 28\] for the input image, found u8\[1, 784\]' && [ ! -e "$w/z.npy" ]
}

predicted_files()
{
    run 2 predict models/mlp.nnd --weights "$w/a.safetensors" --input "$w/x.npy,$w/x.npy" --output "$w/z.npy" &&
        said 'input: wanted 1 file, joined by commas, found 2'
    run 2 predict models/mlp.nnd --weights "$w/a.safetensors" && said 'wants either --input'
}

picture_of_curves()
{
    run 0 train models/slp.nnd --epochs 2 --plot "$w/c.svg" && grep -q '<svg' "$w/c.svg" || return 1
    run 0 train models/slp.nnd --epochs 2 --plot "$w/c.png" && head -c 4 "$w/c.png" | grep -q PNG
}

picture_fails()
{
    run 3 train models/slp.nnd --steps 5 --plot "$w/no/c.png" --save "$w/kept2.safetensors" && said 'no/c.png' && [ -s "$w/kept2.safetensors" ]
}

picture_of_rows()
{
    run 0 predict models/mlp.nnd --weights "$w/a.safetensors" --grid 10 -o "$w/g.png" --seed 3 && head -c 4 "$w/g.png" | grep -q PNG &&
        [ "$(grep -c '^row ' "$w/out")" = 10 ] && grep -qE '^[0-9]+ of 10 right$' "$w/out" || { cat "$w/out"; return 1; }
    cp "$w/out" "$w/rows"
    run 0 predict models/mlp.nnd --weights "$w/a.safetensors" --grid 10 -o "$w/g.svg" --seed 3 && cmp "$w/rows" "$w/out" || return 1
    run 0 predict models/mlp.nnd --weights "$w/a.safetensors" --grid 10 -o "$w/g.svg" --seed 4 && ! cmp -s "$w/rows" "$w/out"
}

pictures_of_names() { grep -q 'Trouser\|Sneaker\|Bag\|Coat\|Shirt\|Pullover\|Dress\|Sandal\|Ankle boot' "$w/rows" || { cat "$w/rows"; return 1; }; }

batch_too_large() { run 2 train models/mlp.nnd --batch 70000 && said 'batch: 70000 is larger than the train split of 60000 rows'; }

no_epochs()
{
    run 2 train models/mlp.nnd --epochs 0 && said 'wants a whole number from 1, got `0`' || return 1
    sed 's/epochs: .*/epochs: 0/' models/mlp.nnd >"$w/none.nnd"
    run 1 train "$w/none.nnd" && said 'epochs is at least 1, got 0'
}

too_many_rows() { run 2 predict models/mlp.nnd --weights "$w/a.safetensors" --grid 1000 -o "$w/g.png" && said 'at most 100 pictures'; }

refused_memory()
{
    sed 's/^train mlp on .*/&\n    require: memory <= 100KiB/' models/mlp.nnd >"$w/small.nnd"
    run 4 train "$w/small.nnd" && said 'require: memory <= 102400 bytes is missed' && [ ! -s "$w/out" ]
}

ok 'train --save writes weights, and logs beside' saved
ok 'a log of steps has a line a step' step_log
ok 'a log of epochs has all figures' epoch_log
ok 'saved weights evaluate as they did' loaded
ok 'eval --split train' evaluates_train
ok 'the same bits on 1, 2 and 4 threads' threads_agree
ok 'the same bits at -O0, -O1 and -O3' levels_agree
ok 'the same bits again' again_the_same
ok 'the same bits with AVX2' avx2_the_same
ok 'an order replaces shuffling' ordered
ok 'an order has as many epochs as are asked for' order_too_short
ok 'an order has rows of the split' order_of_other_rows
ok 'an order is whole numbers' order_of_floats
ok 'an order fills a batch' order_smaller_than_batch
ok 'weights of another model' other_models_weights
ok 'weights that are not there' no_weights
ok 'weights cut off' weights_cut
ok 'weights are wanted' weights_wanted
ok 'a full disk keeps the old weights' full_disk
ok 'a full device' full_device
ok 'a log that fails costs no weights' log_fails
ok 'predictions of a file' predicted
ok 'a row predicted alone, by lenet' alone_or_not lenet
ok 'a row predicted alone, by resnet' alone_or_not resnet
ok 'predictions of other shapes' predicted_shape
ok 'predictions want their files' predicted_files
ok 'memory is refused before running' refused_memory
ok 'a batch larger than the data set' batch_too_large
ok 'no epochs' no_epochs
if "$nnd" devices | grep -q '^pictures .*cairo'; then
    ok 'curves as PNG and SVG' picture_of_curves
    ok 'a picture that fails costs no weights' picture_fails
    ok 'rows with their predictions' picture_of_rows
    ok 'classes have their names' pictures_of_names
    ok 'as many rows as a picture holds' too_many_rows
else
    skip 'pictures' 'built without cairo'
fi
finish
