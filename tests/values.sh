#!/bin/sh
# values.sh NND CHECK_PRODUCT - nnd run: what it prints and writes.
set -u
nnd=$(realpath "$1")
check_product=$(realpath "$2")
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
. tests/tap.sh
w=$work

run()
{
    want=$1
    shift
    ends "$want" "$nnd" run "$@"
}

# file TEXT - as $work/v.nnd
file() { printf 'nnd 1\n%s\n' "$1" >"$w/v.nnd"; }

# shows TEXT WANT - the file prints exactly this
shows()
{
    file "$1"
    printf '%s\n' "$2" >"$w/want"
    run 0 "$w/v.nnd" && diff -u "$w/want" "$w/out"
}

matmul()
{
    run 0 models/matmul.nnd && [ "$(grep -cE '^[abc]: f32\[2, 2\]$' "$w/out")" = 3 ] && [ "$(grep -cE '^.\[ *[0-9.]+, +[0-9.]+\]' "$w/out")" = 6 ] ||
        { cat "$w/out"; return 1; }
}

# $1 is n; the product of the written arrays, in double.
product()
{
    run 0 models/matmul.nnd -D "n=$1" --out "$w/dir" && "$check_product" "$w/dir/a.npy" "$w/dir/b.npy" "$w/dir/c.npy"
}

product_checked()
{
    run 0 models/matmul.nnd -D n=5 --out "$w/dir" && ! "$check_product" "$w/dir/a.npy" "$w/dir/a.npy" "$w/dir/c.npy"
}

seeds()
{
    run 0 models/matmul.nnd && cp "$w/out" "$w/first" && run 0 models/matmul.nnd && cmp "$w/first" "$w/out" &&
        run 0 models/matmul.nnd --seed 1 && ! cmp -s "$w/first" "$w/out"
}

timed() { run 0 models/matmul.nnd -D n=64 --time && grep -qE '^time: values +[0-9.]+ ms, 0\.001 GFLOP, [0-9.]+ GFLOP/s$' "$w/err"; }

threads()
{
    run 0 models/matmul.nnd -D n=300 --out "$w/t1" --threads 1 && run 0 models/matmul.nnd -D n=300 --out "$w/t3" --threads 3 &&
        cmp "$w/t1/c.npy" "$w/t3/c.npy"
}

double() { run 0 models/matmul.nnd --float 64 && grep -q 'c: f64\[2, 2\]' "$w/out"; }

folder_fails()
{
    run 3 models/matmul.nnd --out "$w/no/where" && said 'no/where: cannot be made' && run 3 models/matmul.nnd --out /dev/null && said '/dev/null'
}

nothing_shown() { file 'a = 3' && run 1 "$w/v.nnd" && said 'shows nothing'; }

beside_a_model()
{
    { cat models/slp.nnd; echo 'show 2 + 3'; } >"$w/both.nnd"
    run 0 "$w/both.nnd" && grep -qx 'show1: i64 = 5' "$w/out" && "$nnd" check "$w/both.nnd" && "$nnd" dump "$w/both.nnd" | grep -q 'graph train'
}

imported()
{
    printf 'nnd 1\nfn twice(x: tensor) -> tensor { return 2 * x }\nconst k = 4\nshow 1\n' >"$w/lib.nnd"
    file 'import "lib.nnd"
show twice(k * iota(2))' && run 0 "$w/v.nnd" && grep -qx '\[0, 8\]' "$w/out" || { cat "$w/out"; return 1; }
    run 0 "$w/v.nnd" -D k=5 && grep -qx '\[ 0, 10\]' "$w/out" || { cat "$w/out"; return 1; }
}

ok 'the product of two random matrices' matmul
for n in 1 2 37 200; do
    ok "the product against float64, n = $n" product $n
done
ok 'a wrong product is found' product_checked
ok 'a seed decides' seeds
ok 'GFLOP/s' timed
ok 'the same bits on more threads' threads
ok 'double precision' double
ok 'a folder that cannot be made' folder_fails
ok 'a file that shows nothing' nothing_shown
ok 'values beside a model' beside_a_model
ok 'values of an import' imported
ok 'numbers' shows 'show 3, 0.5, true, 2^10, -7 / 2' 'show1: i64 = 3
show2: f32 = 0.5000
show3: bool = true
show4: i64 = 1024
show5: f32 = -3.5000'
ok 'columns' shows 'x = f32(iota(3)) * 100 - 100
show x, reshape(iota(8), [2, 2, 2]), x > 0' 'x: f32[3]
[-100.0000,    0.0000,  100.0000]
show2: i32[2, 2, 2]
[[[0, 1],
  [2, 3]],
 [[4, 5],
  [6, 7]]]
show3: bool[3]
[false, false,  true]'
ok 'the inside of what is large is left out' shows 'show reshape(iota(5000), [50, 100])' 'show1: i32[50, 100]
[[   0,    1,    2, ...,   97,   98,   99],
 [ 100,  101,  102, ...,  197,  198,  199],
 [ 200,  201,  202, ...,  297,  298,  299],
 ...,
 [4700, 4701, 4702, ..., 4797, 4798, 4799],
 [4800, 4801, 4802, ..., 4897, 4898, 4899],
 [4900, 4901, 4902, ..., 4997, 4998, 4999]]'
ok 'what is tiny or huge has an exponent' shows 'show exp(f32(iota(2)) * 20), 1 / f32(iota(2))' 'show1: f32[2]
[1.0000e+00, 4.8517e+08]
show2: f32[2]
[   inf, 1.0000]'
finish
