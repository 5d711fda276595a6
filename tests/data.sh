#!/bin/sh
# data.sh NND - data files that are missing, cut off, or not what the model says: status 3, and the file is named.
set -u
nnd=$(realpath "$1")
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
. tests/tap.sh

# idx FILE MAGIC DIMENSION... - an IDX header: a byte of rank and four of each size, big-endian.  Its content follows.
idx()
{
    file=$1
    shift
    {
        printf '\000\000\010'
        printf "\\$(printf '%03o' $#)"
        for size; do
            for bits in 24 16 8 0; do
                printf "\\$(printf '%03o' $((size >> bits & 255)))"
            done
        done
    } >"$file"
}

bytes() { head -c "$1" /dev/zero; }

# A whole data set of 70 and 30 black images of class 0, plain or .gz.
data_set()
{
    rm -rf "$work/data"
    mkdir "$work/data"
    for split in train:70 t10k:30; do
        n=${split#*:} at=$work/data/${split%:*}
        idx "$at-images-idx3-ubyte" "$n" 28 28
        bytes $((n * 784)) >>"$at-images-idx3-ubyte"
        idx "$at-labels-idx1-ubyte" "$n"
        bytes "$n" >>"$at-labels-idx1-ubyte"
    done
}

train() { "$nnd" train models/slp.nnd --epochs 1 --data "$work/data" >"$work/out" 2>"$work/err"; }

good()
{
    train || { cat "$work/err"; return 1; }
    grep -q '^epoch 1: ' "$work/out"
}

# refused FILE WORD... - status 3, nothing on stdout, FILE and each WORD in one message on stderr.
refused()
{
    train
    status=$?
    cat "$work/err"
    [ "$status" = 3 ] || { echo "exit status $status, not 3"; return 1; }
    [ ! -s "$work/out" ] || { echo 'said on stdout:'; cat "$work/out"; return 1; }
    for word; do
        grep -qF -- "$word" "$work/err" || { echo "no '$word' in the message"; return 1; }
    done
}

images=train-images-idx3-ubyte labels=train-labels-idx1-ubyte

data_set
ok 'a small data set' good
gzip "$work/data/"*
ok 'the same, compressed' good
data_set
for file in "$work/data/"*; do
    mv "$file" "$(printf %s "$file" | sed 's/-idx/.idx/')"
done
ok 'the other spelling' good

rm -rf "$work/data"
ok 'no folder' refused "$work/data"
mkdir "$work/data"
ok 'an empty folder' refused "$images"
data_set
rm "$work/data/t10k-labels-idx1-ubyte"
ok 'a file is missing' refused t10k-labels-idx1-ubyte
data_set
rm "$work/data/$labels"
mkdir "$work/data/$labels"
ok 'a folder for a file' refused "$labels"
data_set
: >"$work/data/$images"
ok 'an empty file' refused "$images"
data_set
idx "$work/data/$images" 70 28 28
bytes $((70 * 784 - 1)) >>"$work/data/$images"
ok 'a byte too few' refused "$images"
bytes 2 >>"$work/data/$images"
ok 'a byte too many' refused "$images"
data_set
gzip "$work/data/$images"
head -c 100 "$work/data/$images.gz" >"$work/cut" && mv "$work/cut" "$work/data/$images.gz"
ok 'a compressed file cut off' refused "$images.gz"
data_set
printf 'PK\003\004 no images here' >"$work/data/$images"
ok 'another format' refused "$images"
data_set
cp "$work/data/$labels" "$work/data/$images"
ok 'labels for images' refused "$images"
data_set
cp "$work/data/$images" "$work/data/$labels"
ok 'images for labels' refused "$labels"
data_set
idx "$work/data/$images" 70 28 27
bytes $((70 * 784)) >>"$work/data/$images"
ok 'another size' refused "$images" 28
data_set
idx "$work/data/$labels" 69
bytes 69 >>"$work/data/$labels"
ok 'fewer labels than images' refused 69 70
data_set
idx "$work/data/$images" 4294967295 28 28
bytes 784 >>"$work/data/$images"
ok 'a count of 4 billion' refused "$images"
data_set
idx "$work/data/$images" 4294967295 4294967295 4294967295
ok 'sizes whose product overflows' refused "$images"
data_set
idx "$work/data/$images" 0 28 28
idx "$work/data/$labels" 0
ok 'no rows' refused "$images"
data_set
idx "$work/data/$labels" 70
{ bytes 69; printf '\012'; } >>"$work/data/$labels"
ok 'a label out of range' refused "$labels" 10
finish
