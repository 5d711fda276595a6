#!/bin/sh
# programs.sh NND - models made into programs and objects: they say and write what the driver does, byte for byte.
set -u
nnd=$(realpath "$1")
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
. tests/tap.sh
w=$work

# run STATUS COMMAND ARG... - any program; words in $work/out and $work/err.
run() { ends "$@"; }

# The figures of a run without its seconds.
figures() { sed 's/  [0-9.]* s$//' "$w/out"; }

trained()
{
    run 0 "$nnd" train models/mlp.nnd --steps 100 --seed 5 --save "$w/w.safetensors" &&
        run 0 "$nnd" compile models/mlp.nnd --weights "$w/w.safetensors" -o "$w/mlp" && said "saved: $w/mlp" && [ -x "$w/mlp" ]
}

predicts()
{
    printf 'nnd 1\nx = u8(select(reshape(iota(100352), [128, 28, 28]) < 50000, 17, 200))\nshow x\n' >"$w/x.nnd"
    run 0 "$nnd" run "$w/x.nnd" --out "$w" || return 1
    run 0 "$nnd" predict models/mlp.nnd --weights "$w/w.safetensors" --input "$w/x.npy" --output "$w/driver.npy" || return 1
    run 0 "$w/mlp" --input "$w/x.npy" --output "$w/program.npy" && cmp "$w/driver.npy" "$w/program.npy" || return 1
    run 0 "$w/mlp" --input "$w/x.npy" --output "$w/one.npy" --threads 1 && cmp "$w/driver.npy" "$w/one.npy"
}

# 67 rows: one batch of 64, the rest one by one.
predicts_a_rest()
{
    printf 'nnd 1\nx = u8(select(reshape(iota(52528), [67, 28, 28]) < 30000, 9, 100))\nshow x\n' >"$w/rest.nnd"
    mkdir -p "$w/rest" && run 0 "$nnd" run "$w/rest.nnd" --out "$w/rest" || return 1
    run 0 "$nnd" predict models/mlp.nnd --weights "$w/w.safetensors" --input "$w/rest/x.npy" --output "$w/rest/d.npy" || return 1
    run 0 "$w/mlp" --input "$w/rest/x.npy" --output "$w/rest/p.npy" && cmp "$w/rest/d.npy" "$w/rest/p.npy"
}

tells_its_model()
{
    run 0 "$w/mlp" --help && grep -q 'the model mlp' "$w/out" && grep -q 'u8\[n, 28, 28\]' "$w/out" && grep -q 'f32\[n, 10\]' "$w/out" &&
        grep -qE 'memory: [0-9]+ bytes of state, [0-9]+ of scratch' "$w/out" || { cat "$w/out"; return 1; }
}

program_mistakes()
{
    run 2 "$w/mlp" && said 'wants --input X.npy --output Y.npy' && run 2 "$w/mlp" --inputs x && run 2 "$w/mlp" more && said 'unexpected' &&
        run 3 "$w/mlp" --input "$w/nowhere.npy" --output "$w/y.npy" && said 'nowhere.npy: ' &&
        run 3 "$w/mlp" --input "$w/x.npy" --output /dev/full && said '/dev/full: .*No space left' &&
        run 2 "$w/mlp" --input "$w/x.npy" --output "$w/y.npy" --threads 0
}

# Neither kind of program needs a compiler; one that predicts needs the C library alone.
links_no_compiler()
{
    ! ldd "$w/mlp" | grep -E 'LLVM|jansson|libz|cairo' && ! ldd "$w/mlp-train" | grep -E 'LLVM|cairo'
}

trainer() { run 0 "$nnd" compile models/mlp.nnd --entry train -o "$w/mlp-train" && [ -x "$w/mlp-train" ]; }

trains_alike()
{
    run 0 "$w/mlp-train" --epochs 1 --seed 9 --save "$w/p.safetensors" --log-steps "$w/p.csv" && figures >"$w/p.txt" || return 1
    run 0 "$nnd" train models/mlp.nnd --epochs 1 --seed 9 --save "$w/d.safetensors" --log-steps "$w/d.csv" && figures >"$w/d.txt" || return 1
    cmp "$w/p.safetensors" "$w/d.safetensors" && cmp "$w/p.csv" "$w/d.csv" && diff "$w/p.txt" "$w/d.txt" || return 1
    run 0 "$w/mlp-train" --epochs 1 --seed 9 --threads 1 --save "$w/1.safetensors" && cmp "$w/p.safetensors" "$w/1.safetensors"
}

trainer_judges()
{
    sed 's/expect: test.accuracy >= .*/expect: test.accuracy >= 0.999/; s/epochs: .*/epochs: 1/' models/slp.nnd >"$w/hard.nnd"
    run 0 "$nnd" compile "$w/hard.nnd" --entry train -o "$w/hard" && run 4 "$w/hard" && said '0.999: missed' &&
        run 0 "$w/hard" --epochs 1 && said 'not judged'
}

trainer_mistakes()
{
    run 2 "$w/mlp-train" --epochs 0 && said 'whole number from 1' && run 3 "$w/mlp-train" --data "$w" && said 'not found' &&
        run 2 "$w/mlp-train" --epoch=x && run 0 "$w/mlp-train" --help && grep -q 'minimize' "$w/out"
}

# With the address sanitizer's own allocator nothing can be counted.
allocates_nothing()
{
    run 0 "$w/mlp-train" --epochs 1 --threads 2 --log-steps "$w/n.csv" || return 1
    LD_PRELOAD=$counter NND_COUNT=$w/counts run 0 "$w/mlp-train" --epochs 1 --threads 2 || return 1
    LD_PRELOAD=$counter NND_COUNT=$w/counts3 run 0 "$w/mlp-train" --epochs 3 --threads 2 || return 1
    [ -s "$w/counts" ] && cmp "$w/counts" "$w/counts3" || { cat "$w/counts" "$w/counts3"; return 1; }
}

parts()
{
    for kind in obj asm llvm header; do
        run 0 "$nnd" compile models/mlp.nnd --emit $kind -o "$w/part.$kind" && [ -s "$w/part.$kind" ] || return 1
    done
    head -c 4 "$w/part.obj" | grep -q ELF && grep -q 'nnd_mlp' "$w/part.asm" && grep -q 'define.*@' "$w/part.llvm" &&
        grep -q 'extern const NndImage nnd_mlp;' "$w/part.header"
}

default_names()
{
    (cd "$w" && run 0 "$nnd" compile "$OLDPWD/models/slp.nnd" --emit obj && [ -s slp.o ])
}

# A C program of one's own around the object and its header.
embedded()
{
    run 0 "$nnd" compile models/mlp.nnd --weights "$w/w.safetensors" --batch 1 --emit obj -o "$w/own.o" &&
        run 0 "$nnd" compile models/mlp.nnd --batch 1 --emit header -o "$w/mlp.h" || return 1
    cat >"$w/own.c" <<'END'
#include <stdio.h>
#include "mlp.h"
static uint8_t image[28 * 28];
static float p[10];
static _Alignas(64) char scratch[NND_MLP_INFER_SCRATCH_BYTES + 64];
int main(void)
{
    for (int i = 0; i < 784; i++)
        image[i] = 17;
    if (nnd_mlp_infer(NULL, scratch, image, p))
        return 1;
    return fwrite(p, sizeof p, 1, stdout) != 1;
}
END
    run 0 cc -std=c11 -Wall -Wextra -Werror -I"$w" "$w/own.c" "$w/own.o" -lm $sanitize -o "$w/own" || return 1
    "$w/own" >"$w/own.bin" || return 1
    tail -c +129 "$w/driver.npy" | head -c 40 | cmp - "$w/own.bin"
}

wants_weights() { run 2 "$nnd" compile models/mlp.nnd -o "$w/none" && said 'wants --weights FILE' && [ ! -e "$w/none" ]; }

wrong_entry() { run 2 "$nnd" compile models/mlp.nnd --entry eval && said 'a program trains or infers'; }

values_alone() { run 1 "$nnd" compile models/matmul.nnd --emit asm --entry infer -o "$w/none" && said 'nnd run evaluates it' && [ ! -e "$w/none" ]; }

weights_of_another() { run 3 "$nnd" compile models/slp.nnd --weights "$w/w.safetensors" -o "$w/none" && said 'fc2.weight' && [ ! -e "$w/none" ]; }

cannot_be_written()
{
    run 3 "$nnd" compile models/mlp.nnd --weights "$w/w.safetensors" -o "$w/no/mlp" && said 'no/mlp' &&
        run 3 "$nnd" compile models/mlp.nnd --emit obj -o /dev/full && said '/dev/full: .*No space left'
}

linker_missing()
{
    cp "$w/mlp" "$w/before"
    CC=no-such-compiler run 6 "$nnd" compile models/mlp.nnd --weights "$w/w.safetensors" -o "$w/mlp" && said 'no-such-compiler' &&
        cmp "$w/mlp" "$w/before" && ! ls "$w" | grep -E "^mlp\.[0-9]"
}

counter=${2-}
sanitize=${3-}
ok 'compile makes a program that predicts' trained
ok 'it predicts what the driver predicts' predicts
ok 'rows beyond whole batches' predicts_a_rest
ok '--help tells model, shapes and bytes' tells_its_model
ok 'its mistakes' program_mistakes
ok 'compile makes a program that trains' trainer
ok 'it trains as the driver trains' trains_alike
ok 'it judges what the model expects' trainer_judges
ok 'its mistakes' trainer_mistakes
ok 'programs link no compiler' links_no_compiler
if [ -n "$counter" ]; then
    ok 'nothing is allocated after the start' allocates_nothing
else
    skip 'nothing is allocated after the start' 'sanitizers have an allocator of their own'
fi
ok 'the parts of a program' parts
ok 'parts have the name of the model' default_names
ok 'an object in a C program' embedded
ok 'a program that predicts wants weights' wants_weights
ok 'a program has one of two entries' wrong_entry
ok 'a file of values is no model' values_alone
ok 'weights of another model' weights_of_another
ok 'places that cannot be written' cannot_be_written
ok 'a linker that is not there' linker_missing
rm -f "$w/mlp.h"
finish
