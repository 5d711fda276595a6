#!/bin/sh
# golden.sh NND [--bless] - every tests/golden/<pass>/<case>.ir, its passes run, must give its .want.
#
# The first line of a case is the command: `# nnd opt --run simplify`.  --bless rewrites the twins instead; read the
# difference like code.
set -u
nnd=$(realpath "$1")
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
bless=${2-}
. tests/tap.sh

# The words after `# nnd` on the first line, with no expansion but splitting.
run_case()
{
    set -f
    set -- $(sed -n '1s/^# nnd //p' "$1") "$1"
    set +f
    [ "$1" = opt ] || { echo "the first line is not '# nnd opt --run PASS,...'"; return 1; }
    "$nnd" "$@"
}

golden()
{
    run_case "$1" >"$work/out" 2>"$work/err" || { cat "$work/err" "$work/out"; return 1; }
    [ ! -s "$work/err" ] || { cat "$work/err"; return 1; }
    if [ "$bless" = --bless ]; then
        cp "$work/out" "${1%.ir}.want"
    else
        diff -u "${1%.ir}.want" "$work/out"
    fi
}

for case in tests/golden/*/*.ir; do
    name=${case#tests/golden/}
    ok "${name%.ir}" golden "$case"
done
for want in tests/golden/*/*.want; do
    [ "${want#tests/golden/ptxas/}" = "$want" ] || continue     # ptxas.sh's
    [ -f "${want%.want}.ir" ] || ok "$want has its case" false
done
finish
