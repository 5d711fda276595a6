#!/bin/sh
# sources.sh NND MAKE_FILES - data sets of every format: what is read, and what is refused with status 3 and the file's name.
set -u
nnd=$(realpath "$1")
make_files=$(realpath "$2")
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
. tests/tap.sh
w=$work

# model FIELDS SETTINGS MODEL STEP - a file of one linear layer; the data block's settings, and the step's loss and metrics.
model()
{
    printf 'nnd 1\ndata d(%s) {\n%s\n}\n%s\ntrain net on d {\n%s\n    optimizer: sgd(lr: 0.1)\n    batch: 2\n}\n' "$@" >"$w/m.nnd"
}

measures='x: f32[2], y: u8'
net='model net(x: f32[N, 2]) -> f32[N, 3] { return fc: linear(x, 3) }'
# The weighted sum tells each number's column and row's class.
step='    p = net(x)
    minimize cross_entropy(p, y)
    metric sum = mean((sum(x, axis: 1) + 99 * sum(x * f32(iota(2)), axis: 1)) * (1 + f32(y)))
    metric accuracy = mean(argmax(p) == y)'

train() { ends "$1" "$nnd" train "$w/m.nnd" --epochs 1 --log "$w/log.csv"; }

# sources SETTING... - a model of the measures on these sources
sources() { model "$measures" "$(printf '    %s\n' "$@")" "$net" "$step"; }

# figure NAME VALUE - in the log's only row: means of a few numbers below 10000, whose f32 have steps of less than .001
figure()
{
    awk -F, -v name="$1" -v want="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i }
        NR == 2 && at && $at - want < 1e-3 && want - $at < 1e-3 { found = 1 }
        END { if (!found) { print name " is not " want; exit 1 } }' "$w/log.csv" || { cat "$w/log.csv"; return 1; }
}

rows() { grep -qF -- "$1" "$w/err" || { echo "no '$1'"; cat "$w/err"; return 1; }; }

# refused WORD... - status 3, one message, each WORD in it, nothing on stdout.
refused()
{
    train 3 || return 1
    [ ! -s "$w/out" ] || { cat "$w/out"; return 1; }
    [ "$(grep -c error: "$w/err")" = 1 ] || { cat "$w/err"; return 1; }
    for word; do
        grep -qF -- "$word" "$w/err" || { echo "no '$word' in:"; cat "$w/err"; return 1; }
    done
}

# ---- arrays ----

printf 'nnd 1\ni = iota(6)\nx = reshape(f32(iota(12)), [6, 2])\ny = u8(select(i < 2, 0, select(i < 4, 1, 2)))\nwide = i64(i)\nflat = f32(i)\nshow x, y, wide, flat\n' >"$w/make.nnd"
ok 'arrays are made' ends 0 "$nnd" run "$w/make.nnd" --out "$w"
# rows (0 1)(2 3) 0, (4 5)(6 7) 1, (8 9)(10 11) 2: a + 100 b is 100 302 | 504 706 | 908 1110
mean=$(awk 'BEGIN { printf "%.6f", ((100 + 302) + 2 * (504 + 706) + 3 * (908 + 1110)) / 6 }')
# The same six rows in each format.
six() { train 0 && figure train_sum "$mean" && rows '6 rows to train on'; }

sources 'train: npy("x.npy", "y.npy")'
ok 'npy' six
"$make_files" zip "$w/stored.npz" stored "x.npy=$w/x.npy" "y.npy=$w/y.npy"
"$make_files" zip "$w/deflated.npz" deflated "other.npy=$w/wide.npy" "y.npy=$w/y.npy" "x.npy=$w/x.npy"
sources 'train: npz("stored.npz", "x", "y")'
ok 'npz, stored' six
sources 'train: npz("deflated.npz", "x", "y")' 'test: npz("stored.npz", "x", "y")'
ok 'npz, deflated' six
ok 'npz, the test split' figure test_sum "$mean"
cp "$w/deflated.npz" "$w/comment.npz"
head -c -2 "$w/deflated.npz" >"$w/comment.npz" && printf '\005\000hello' >>"$w/comment.npz"
sources 'train: npz("comment.npz", "x", "y")'
ok 'npz with a comment' six

sources 'train: npy("wide.npy", "y.npy")'
ok 'npy of another dtype' refused wide.npy 'wanted f32 for field x, found i64'
sources 'train: npy("flat.npy", "y.npy")'
ok 'npy of other rows' refused flat.npy 'wanted rows of 2 for field x, found one number'
sources 'train: npz("stored.npz", "x", "z")'
ok 'npz without the array' refused stored.npz 'has no array z.npy; it has: x.npy, y.npy'
head -c 200 "$w/deflated.npz" >"$w/cut.npz"
sources 'train: npz("cut.npz", "x", "y")'
ok 'npz cut off' refused cut.npz 'no zip directory'
# a byte of the stored elements changes: the check sum knows
{ head -c 170 "$w/stored.npz"; printf 'X'; tail -c +172 "$w/stored.npz"; } >"$w/changed.npz"
sources 'train: npz("changed.npz", "x", "y")'
ok 'npz with a changed byte' refused changed.npz 'incorrect data check'
sources 'train: npz("none.npz", "x", "y")'
ok 'no npz' refused none.npz 'not found in'

# ---- cells ----

sources 'train: csv("six.csv", ["a", "b"], "kind")'
printf 'a,b,kind\n0,1,ash\n2,3,ash\n4,5,oak\n6,7,oak\n8,9,yew\n10,11,yew\n' >"$w/six.csv"
ok 'csv' six
printf '\357\273\277kind,"b",a\r\n"ash", 1 ,0\r\nash,3e0,2\r\n\r\noak,5,4\r\n"oak",+7,6\r\nyew,9.0,8\r\nyew,11,10' >"$w/six.csv"
ok 'csv with quotes, CRLF, spaces, a mark and no last line end' six
printf 'kind,b,a\n"z, ""1""\nx",9,8\nash,1,0\noak,5,4\n"z, ""1""\nx",11,10\nash,3,2\noak,7,6\n' >"$w/six.csv"
ok 'csv whose texts have commas, quotes and lines, in any order' six
sources 'train: csv("six.csv", [2, 0], 1)'
printf '1,0,0\n3,0,2\n5,1,4\n7,1,6\n9,2,8\n11,2,10\n' >"$w/six.csv"
ok 'csv by numbers' six
sources 'train: csv("six.csv", [0, 1], 2)' 'labels: ["yew", "oak", "ash"]'
printf '0,1,yew\n2,3,yew\n4,5,oak\n6,7,oak\n8,9,ash\n10,11,ash\n' >"$w/six.csv"
ok 'csv with the labels of the data block' six
sources 'train: csv("six.csv", [0, 1], 2)' 'test: csv("two.csv", [0, 1], 2)'
printf '0,1,a\n2,3,a\n4,5,b\n6,7,b\n8,9,c\n10,11,c\n' >"$w/six.csv"
printf '1,0,c\n1,0,b\n' >"$w/two.csv"
ok 'csv: the test split numbers classes as the train split' six
ok 'csv: the test split' figure test_sum 2.5
printf '1,0,c\n1,0,d\n' >"$w/two.csv"
ok 'csv: a class of the test split alone' refused "two.csv:2:5: wanted one of the 3 classes known for field y, found \`d\`"
sources 'train: csv("six.csv", [0, 1], 2)'
for bad in "1,2,a
3,x,b|:2:3: wanted a number for field x, found \`x\`" '1,2,a
3,,b|:2:3: wanted a number for field x, found an empty cell' '1,2,a
3,nan,b|:2:3: wanted a number' '1,2,a
3,4|:2: wanted 3 cells, as the first line has, found 2' "1,2,0
3,4,b|:2:5: wanted a whole number that u8 holds for field y, found \`b\`" '1,2,0
3,4,256|:2:5: wanted a whole number that u8 holds' '1,2,0
3,4,3|wanted y in 0..2, found 3 in row 1' '1,2,"a|:1:5: a quoted cell that does not end' '1,2,"a"b|:1:8: wanted a comma or the end' \
    '1,2
3,4|wanted a column 2, counted from 0, found 2 columns' '|wanted lines of cells, found none' \
    '1,2,a
1,2,b
1,2,c
1,2,d|wanted at most 3 classes for field y, as the model has, found 4'; do
    printf %s "${bad%|*}" >"$w/six.csv"
    ok "csv: ${bad##*|}" refused "six.csv" "${bad##*|}"
done
printf '1,2,a\0\n' >"$w/six.csv"
ok 'csv: a zero byte' refused six.csv 'found a zero byte'
sources 'train: csv("six.csv", ["a", "c"], "kind")'
printf 'a,b,kind\n1,2,3\n' >"$w/six.csv"
ok 'csv: no such column' refused six.csv "no column is called \`c\`; its first line has: a, b, kind"
printf 'a,c,kind\n' >"$w/six.csv"
ok 'csv: names alone' refused six.csv 'wanted at least one row'

# ---- a share for validation ----

awk 'BEGIN { print "a,b,kind"; for (i = 0; i < 40; i++) print i "," 0 "," i % 3 }' >"$w/forty.csv"
model "$measures" '    train: csv("forty.csv", ["a", "b"], "kind")
    test: csv("forty.csv", ["a", "b"], "kind")
    valid: 0.25' "$net" '    minimize cross_entropy(net(x), y)
    metric sum = mean(sum(x, axis: 1))
    expect: valid.sum >= 0'

# What trains and what doesn't are all rows together, each once: 30 and 10 of 0 + ... + 39.
parted()
{
    train 0 && rows '30 rows to train on, 10 to validate, 40 to test' || return 1
    head -n 1 "$w/log.csv" | grep -q '^epoch,steps,train_loss,train_sum,valid_loss,valid_sum,test_loss,test_sum,seconds$' || return 1
    awk -F, 'NR == 2 { d = 30 * $4 + 10 * $6 - 780; exit !(d < 1e-3 && d > -1e-3) }' "$w/log.csv"
}
ok 'valid: a share' parted
valid=$(awk -F, 'NR == 2 { print $6 }' "$w/log.csv")
same_share() { ends 0 "$nnd" train "$w/m.nnd" --seed 77 --log "$w/log.csv" --save "$w/w.safetensors" && figure valid_sum "$valid"; }
ok 'valid: the same rows whatever the seed' same_share
evaluates()
{
    ends 0 "$nnd" eval "$w/m.nnd" --weights "$w/w.safetensors" --split valid && grep -q "^valid: loss=.* sum=$(printf %.3f "$valid")" "$w/out" || { cat "$w/out"; return 1; }
}
ok 'eval --split valid' evaluates
program()
{
    ends 0 "$nnd" compile "$w/m.nnd" --entry train -o "$w/program" && (cd "$w" && ends 0 ./program --log program.csv --seed 77) || return 1
    cut -d, -f1-8 "$w/log.csv" >"$w/a" && cut -d, -f1-8 "$w/program.csv" | diff "$w/a" -
}
missed() { ends 4 "$nnd" train "$w/m.nnd" && rows 'valid.sum < 0: missed with'; }
ok 'a compiled program reads and parts the same' program
sed -i 's/valid.sum >= 0/valid.sum < 0/' "$w/m.nnd"
ok 'expect of valid is judged' missed
head -n 2 "$w/forty.csv" >"$w/one.csv"
sources 'train: csv("one.csv", ["a", "b"], "kind")' 'valid: 0.25'
ok 'valid: nothing to take' refused 'the valid split takes 0.25 of 1 rows, which leaves it none'
printf '0,1,a\n2,3,a\n4,5,b\n6,7,b\n8,9,c\n10,11,c\n' >"$w/six.csv"
printf '1,0,c\n1,0,b\n' >"$w/two.csv"
sources 'train: csv("six.csv", [0, 1], 2)' 'valid: csv("two.csv", [0, 1], 2)'
ok 'valid: a file of its own' six
ok 'valid: its rows' figure valid_sum 2.5

# ---- bytes ----

# windows SETTING... - each next byte is one more than its text's where the file counts upwards
windows()
{
    model 'text: u8[4], next: u8[4]' "$(printf '    %s\n' "$@")" 'model net(text: u8[N, 4]) -> f32[N, 4] { return fc: linear(f32(text) / 256, 4) }' \
        '    p = net(text)
    minimize mse(p, f32(next))
    metric up = mean(f32(next) - f32(text))
    metric first = mean(f32(text))'
}
printf 'ABCDEFGHIJKLMNOPQRSTU' >"$w/book.txt"
windows 'train: bytes("book.txt", window: 4)'
bytes() { train 0 && figure train_up 1 && figure train_first "$1" && rows "$2"; }
ok 'bytes' bytes 74.5 ' 5 rows to train on'
windows 'train: bytes("book.txt", stride: 1, to: 0.5)' 'test: bytes("book.txt", from: 0.5, stride: 2)'
ok 'bytes: a part, overlapping' bytes 69 ' 6 rows to train on, 4 to test'
ok 'bytes: the other part' figure test_first 79.5
printf 'qzxqzxqzxqzxqzxqzxqzxqzx' >"$w/book.txt"
model 'text: i32[4], next: i32[4]' '    train: characters("book.txt", stride: 3)' 'model net(text: i32[N, 4]) -> f32[N, 4, 3] { return tok: embedding(text, 3, 3) }' \
    '    minimize mean((net(text) - one_hot(next, 3))^2)
    metric first = mean(f32(text))
    metric second = mean(f32(next))'
# q x z are 0 1 2: every text is q z x q, every next z x q z
characters() { train 0 && figure train_first 0.75 && figure train_second 1.25; }
ok 'characters' characters
printf 'qzxqzxqzxqzxqzxqzx!' >"$w/book.txt"
ok 'characters: more than classes' refused book.txt 'wanted at most 3 classes' 'found 4'
printf 'qzx' >"$w/book.txt"
ok 'characters: too short' refused book.txt 'wanted at least 5 bytes' 'found 3'
sed -i 's/characters(.*)/&\n    test: characters("more.txt")/' "$w/m.nnd"
printf 'qzxqzxqzxqzx' >"$w/book.txt"
printf 'qzxq!zxqzxqzx' >"$w/more.txt"
ok 'characters: one that train lacks' refused more.txt 'byte 4 is 0x21'

# ---- images ----

pictures()
{
    model "image: $1, kind: u8" "$(printf '    %s\n' "$2" "${3-}")" "model net(image: $4) -> f32[N, 2] { return fc: linear(flatten(f32(image)) / 255, 2) }" \
        '    minimize cross_entropy(net(image), kind)
    metric light = mean(f32(image) * f32(iota(3)))
    metric kinds = mean(f32(kind))'
}
mkdir -p "$w/set/cat" "$w/set/dog" "$w/set/.hidden"
printf 'P5\n# a comment\n3 2\n255\n\001\002\003\004\005\006' >"$w/set/cat/b.pgm"
printf 'P2 3 2 # as text\n15 0 1 2\n3 4 15\n' >"$w/set/dog/a.PGM"
printf 'P5 3 2 255\n\001\002\003\004\005\006' >"$w/set/dog/c.pgm"
printf 'P5 3 2 255\n\001\002\003\004\005\006' >"$w/set/dog/d.pgm"
pictures 'u8[2, 3]' 'train: images("set")' '' 'u8[N, 2, 3]'
light=$(awk 'BEGIN { one = (2 + 2 * 3 + 5 + 2 * 6) / 6; text = (17 + 2 * 34 + 68 + 2 * 255) / 6; print (3 * one + text) / 4 }')
images() { train 0 && figure train_light "$1" && figure train_kinds "$2" && rows "$3"; }
ok 'images' images "$light" 0.75 ' 4 rows to train on'
pictures 'u8[2, 3]' 'train: images("set")' 'labels: ["dog", "cat"]' 'u8[N, 2, 3]'
ok 'images with the labels of the data block' images "$light" 0.25 ' 4 rows'
if "$nnd" devices | grep -q '^images .*libpng [0-9]'; then
    "$make_files" png "$w/set/cat/b.png" 3 2 1 1 2 3 4 5 6 && rm "$w/set/cat/b.pgm"
    ok 'PNG in grey' images "$light" 0.25 ' 4 rows'
    head -c 50 "$w/set/cat/b.png" >"$w/cut" && mv "$w/cut" "$w/set/cat/b.png"
    ok 'a PNG cut off' refused set/cat/b.png
    "$make_files" png "$w/set/cat/b.png" 2 3 1 1 2 3 4 5 6
    ok 'a PNG of another size' refused set/cat/b.png 'wanted an image of 2 x 3, found 3 x 2'
    "$make_files" png "$w/set/cat/b.png" 3 2 3 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18
    ok 'a PNG in colour for grey' refused set/cat/b.png 'wanted an image in grey, found one in colour'
    mkdir -p "$w/colour/cat" "$w/colour/dog"
    cp "$w/set/cat/b.png" "$w/colour/cat/1.png"
    cp "$w/set/cat/b.png" "$w/colour/dog/1.png"
    pictures 'u8[3, 2, 3]' 'train: images("colour")' '' 'u8[N, 3, 2, 3]'
    # iota goes along a row: its columns 1 and 2 have 4 7 | 13 16 in red, one more in green, two in blue
    ok 'PNG in colour' images "$(awk 'BEGIN { red = 4 + 14 + 13 + 32; print (3 * red + 6 + 12) / 18 }')" 0.5 ' 2 rows'
    "$make_files" png "$w/colour/cat/1.png" 1 1 4 1 2 3 4
    ok 'a PNG with transparency' refused colour/cat/1.png transparency
    cp "$w/set/dog/c.pgm" "$w/colour/cat/1.png"
    ok 'a PNG that is none' refused colour/cat/1.png 'not a PNG file'
    rm "$w/set/cat/b.png"
    pictures 'u8[2, 3]' 'train: images("set")' '' 'u8[N, 2, 3]'
else
    skip 'PNG' 'built without libpng'
fi
rm -f "$w"/set/cat/*
printf 'P5 3 2 255\n\001\002\003\004\005' >"$w/set/cat/b.pgm"
ok 'a PGM with a pixel too few' refused set/cat/b.pgm 'wanted 6 pixels, found 5'
printf 'P5 2 3 255\n\001\002\003\004\005\006' >"$w/set/cat/b.pgm"
ok 'a PGM of another size' refused set/cat/b.pgm 'wanted an image of 2 x 3, found 3 x 2'
printf 'P5 3 2 65535\n\001\002\003\004\005\006' >"$w/set/cat/b.pgm"
ok 'a PGM of 16 bits' refused set/cat/b.pgm 'from 1 to 255'
printf 'P6 3 2 255\n\001\002\003\004\005\006' >"$w/set/cat/b.pgm"
ok 'a PGM that is none' refused set/cat/b.pgm 'wanted P5 or P2'
rm "$w/set/cat/b.pgm"
: >"$w/set/cat/b.jpg"
ok 'another kind of file' refused set/cat/b.jpg 'wanted .png and .pgm files alone'
rm "$w/set/cat/b.jpg"
: >"$w/set/notes"
ok 'a file beside the classes' refused set/notes 'wanted folders of classes alone'
rm "$w/set/notes"
mkdir "$w/set/eel"
: >"$w/set/eel/1.pgm"
ok 'an empty file for an image' refused set/eel/1.pgm 'not a PGM file'
cp "$w/set/dog/c.pgm" "$w/set/eel/1.pgm"
rm -r "$w/set/cat"
mkdir "$w/set/cow"
ok 'more classes than the model has' refused 'wanted at most 2 classes for field kind, as the model has, found 3'
# ---- no file ----

# counted DTYPE SETTING... - a model whose metric adds up row numbers; in another folder than any file
counted()
{
    dtype=$1
    shift
    model "number: $dtype" "$(printf '    %s\n' "$@")" 'model net(x: f32[N, 1]) -> f32[N, 3] { return fc: linear(x, 3) }' \
        '    minimize mean(net(reshape(f32(number), [-1, 1]) / 100)^2)
    metric count = mean(f32(number))'
}
sums() { train 0 && figure train_count "$1" && rows "data: $2"; }
counted i32 'train: rows(2 * 5)' 'test: rows(4)'
ok 'rows without a file' sums 4.5 '10 rows to train on, 4 to test'
ok 'rows: the test split' figure test_count 1.5
counted i64 'train: rows(40)' 'valid: 0.25'
shared() { train 0 && rows '30 rows to train on, 10 to validate' && awk -F, 'NR == 2 { d = 30 * $4 + 10 * $6 - 780; exit !(d < 1e-3 && d > -1e-3) }' "$w/log.csv"; }
ok 'rows and a share of them' shared
counted u8 'train: rows(256)'
ok 'rows of u8' sums 127.5 '256 rows'
counted u8 'train: rows(5)'
sed -i 's/mean(f32(number))/mean(one_hot(number, 4))/' "$w/m.nnd"
ok 'rows: more than classes' refused 'rows(5): wanted number in 0..3, found 4 in row 4'
finish
