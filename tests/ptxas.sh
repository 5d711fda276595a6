#!/bin/sh
# ptxas.sh NND - ptxas accepts the code of every model for four generations of GPUs: no spills, and registers as recorded.
#
# tests/golden/ptxas/MODEL.want has a line a kernel of its training step for sm_80: registers and bytes of group memory; --bless
# writes them.  No kernel touches memory of a thread's own, and products of tiles read group memory by 128 bits: looked for in the
# PTX, and in what ptxas makes of it where there is a cuobjdump ($CUOBJDUMP, or in the path; it wants nvdisasm beside it).
set -u
nnd=$1
root=${NND_ROOT:-.}
bless=${2:-}
work=$(mktemp -d)
generations=${NND_FEW:+80}
trap 'rm -rf "$work"' EXIT
ptxas=
for at in $(command -v ptxas) "${CUDA_HOME:-/nowhere}/bin/ptxas" /usr/local/cuda/bin/ptxas; do
    [ -x "$at" ] && ptxas=$at && break
done
cuobjdump=
for at in "${CUOBJDUMP:-/nowhere}" $(command -v cuobjdump) "${CUDA_HOME:-/nowhere}/bin/cuobjdump" /usr/local/cuda/bin/cuobjdump; do
    [ -x "$at" ] && cuobjdump=$at && PATH=$(dirname "$at"):$PATH && break
done
if [ -z "$ptxas" ]; then
    echo "1..1"
    echo "ok 1 - # SKIP there is no ptxas"
    exit 0
fi
n=0
report()
{
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; sed 's/^/# /' "$work/why" | head -30; fi
}

# "kernel registers group-memory" of what ptxas -v says
figures()
{
    awk '/Compiling entry function/ { split($0, part, "\047"); name = part[2] }
         /Used [0-9]+ registers/ { smem = 0; for (i = 1; i < NF; i++) { if ($(i + 1) ~ /^registers/) regs = $i; if ($(i + 2) ~ /^smem/) smem = $i }
                                   print name, regs, smem }' "$1" | sort
}

# Runs of code without a label that hold 64 products and more, but no read of group memory by 128 bits or tensor core; 1 if there are any.
narrow_tiles()
{
    awk '/^\.visible \.entry/ { kernel = $3 }
         /^\$L/ || /^}/ { if (fma >= 64 && shared && !wide) { print kernel, label, fma " products", shared " reads"; bad = 1 } label = $1; fma = wide = shared = 0 }
         /fma\.rn\.f32/ { fma++ } /ld\.shared/ { shared++ } /ld\.shared\.v4/ { wide++ } END { exit bad }' "$1"
}

spills() { grep -E "bytes (stack frame|spill)" "$1" | grep -vq " 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"; }

# spills_nowhere MODEL ENTRY - what a model has beside its training step, in larger batches than that takes.
spills_nowhere()
{
    "$nnd" dump "$1" --entry "$2" --batch 256 --target cuda --cpu sm_80 --after ptx >"$work/other.ptx" 2>"$work/other" || { grep -q 'has no entry' "$work/other"; return; }
    "$ptxas" -v -arch=sm_80 "$work/other.ptx" -o "$work/other.cubin" >"$work/other" 2>&1 && ! spills "$work/other"
}

for model in "$root"/models/*.nnd; do
    name=$(basename "$model" .nnd)
    entry=train
    "$nnd" dump "$model" --entry train --after build >/dev/null 2>&1 || entry=infer
    for sm in ${generations:-75 80 90 100}; do
        : >"$work/why"
        "$nnd" dump "$model" --entry $entry --target cuda --cpu sm_$sm --after ptx >"$work/k.ptx" 2>"$work/why" &&
            "$ptxas" -v -arch=sm_$sm "$work/k.ptx" -o "$work/k.cubin" >"$work/said" 2>&1
        ok=$?
        [ $ok -eq 0 ] || [ -s "$work/why" ] || cp "$work/said" "$work/why"
        report $ok "$name for sm_$sm"
        [ $ok -eq 0 ] || continue
        ! spills "$work/said"
        ok=$?
        [ $ok -eq 0 ] || cp "$work/said" "$work/why"
        report $ok "$name for sm_$sm spills nothing"
        ! grep -E "(ld|st)\.local" "$work/k.ptx" >"$work/why"
        report $? "$name for sm_$sm has no memory of a thread's own"
        [ $sm -eq 80 ] || continue
        narrow_tiles "$work/k.ptx" >"$work/why"
        report $? "$name: loops of products read by 128 bits"
        if [ "$cuobjdump" ]; then
            "$cuobjdump" --dump-sass "$work/k.cubin" >"$work/sass" 2>"$work/why" && awk -f "$root/tests/tools/sass.awk" "$work/sass" >"$work/why"
            report $? "$name: so does the machine's code"
        fi
        spills_nowhere "$model" eval && spills_nowhere "$model" infer
        ok=$?
        [ $ok -eq 0 ] || cp "$work/other" "$work/why"
        report $ok "$name: evaluating and predicting spills nothing"
        figures "$work/said" >"$work/got"
        if [ "$bless" = --bless ]; then cp "$work/got" "$root/tests/golden/ptxas/$name.want"; fi
        diff "$root/tests/golden/ptxas/$name.want" "$work/got" >"$work/why" 2>&1
        report $? "$name takes the registers that it took"
    done
done
if [ -z "$cuobjdump" ]; then
    n=$((n + 1))
    echo "ok $n - the machine's code # SKIP there is no cuobjdump"
fi
echo "1..$n"
