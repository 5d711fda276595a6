#!/bin/sh
# bad.sh NND [--bless] - every tests/bad/<case>.nnd has mistakes, and nnd check says exactly what its .err twin says.
set -u
nnd=$(realpath "$1")
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
bless=${2-}
. tests/tap.sh

bad()
{
    timeout 20 "$nnd" check "$1" >"$work/out" 2>"$work/err"
    status=$?
    [ "$status" = 1 ] || { echo "exit status $status, not 1"; cat "$work/err"; return 1; }
    [ ! -s "$work/out" ] || { echo 'said on stdout:'; cat "$work/out"; return 1; }
    if [ "$bless" = --bless ]; then
        cp "$work/err" "${1%.nnd}.err"
    else
        diff -u "${1%.nnd}.err" "$work/err"
    fi
}

for case in tests/bad/*.nnd; do
    name=${case#tests/bad/}
    ok "${name%.nnd}" bad "$case"
done
finish
