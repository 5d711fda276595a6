#!/bin/sh
# blas.sh NND - --blas: what it does to a plan, the table of auto, what it refuses.
set -u
nnd=$(realpath "$1")
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
. tests/tap.sh
export XDG_CACHE_HOME="$work/cache"

plan() { "$nnd" dump models/mlp.nnd --entry train --after schedule "$@"; }

marked() { plan --blas always | grep -q 'for i[0-9]* < 64 blas '; }
unmarked() { ! plan "$@" | grep -q ' blas '; }

# The text of a plan with such loops reads back to itself.
reads_back()
{
    "$nnd" dump models/mlp.nnd --entry train --after memory --blas always >"$work/plan" &&
        "$nnd" opt "$work/plan" --run memory >"$work/again" && grep -v '^#' "$work/plan" | diff -u - "$work/again"
}

refuses() { ends "$1" "$nnd" $2 && said "$3" && [ "$(grep -c . "$work/err")" = 1 ]; }

# auto measures each shape once, and keeps what it found.
measures()
{
    plan --blas auto >"$work/one" && [ "$(head -n 1 "$work"/cache/nnd/blas-*.txt)" = 'nnd-blas 1' ] &&
        grep -q '^f32 64 50 784 n t [a-z]* [0-9.]* [0-9.]*$' "$work"/cache/nnd/blas-*.txt || return 1
    cp "$work"/cache/nnd/blas-*.txt "$work/table" && plan --blas auto >"$work/two" && diff "$work/one" "$work/two" &&
        diff "$work/table" "$work"/cache/nnd/blas-*.txt
}

# A pinned table decides, whatever is faster here.
pinned()
{
    sed 's/^\(f32 64 50 784 n t\) [a-z]*/\1 blas/' "$work/table" >"$work/pinned" && plan --blas auto --blas-table "$work/pinned" >"$work/plan" &&
        grep -q 'for i[0-9]* < 64 blas ' "$work/plan" || return 1
    sed 's/ blas / own /' "$work/table" >"$work/pinned" && unmarked --blas auto --blas-table "$work/pinned"
}

damaged()
{
    (cat "$work/table"; echo 'f32 64 50 seven n t own 1 2') >"$work/pinned"
    refuses 3 "dump models/mlp.nnd --after schedule --blas auto --blas-table $work/pinned" 'is not of a table of --blas auto'
}

ok 'never is the default' unmarked
ok 'a table is for auto' refuses 2 'dump models/mlp.nnd --blas-table x' 'a table is for --blas auto'
ok 'a compiled program calls no BLAS' refuses 2 'compile models/mlp.nnd --entry train --blas always' 'calls no BLAS'
ok 'nor does another target' refuses 2 'dump models/mlp.nnd --target interp --blas always' 'calls no BLAS'
if plan --blas always >/dev/null 2>&1; then
    ok 'always marks a product' marked
    ok 'a plan with calls reads back' reads_back
    ok 'the passes and BLAS keep the results' ends 0 "$nnd" check --verify models/mlp.nnd --blas always
    ok 'and in double precision' ends 0 "$nnd" check --verify models/mlp_adam.nnd --blas always --float 64
    ok 'auto measures once' measures
    ok 'a pinned table decides' pinned
    ok 'a damaged table is refused' damaged
else
    skip 'products by BLAS' 'there is no OpenBLAS'
fi
finish
