#!/bin/sh
# run.sh BUILD - run every test of a build folder and count its cases.
#
# A test program speaks TAP, a case a line; meson keeps what each said in testlog.json, a line a program.
# A program that fails without a failed case of its own (it crashed, hung, or lost its plan) counts as one failure,
# a program without cases (it speaks by its exit status) as one.
# The last line is `N passed, N failed, N skipped`; the exit status tells whether all passed.
set -u
build=$1

meson test -C "$build" --print-errorlogs --no-rebuild >&2
status=$?
log=$build/meson-logs/testlog.json
[ -s "$log" ] || { echo '0 passed, 1 failed, 0 skipped'; exit 1; }
awk -v status="$status" '
{
    ok = not_ok = skip = 0
    n = split($0, line, /\\n|"stdout": "/)
    for (i = 1; i <= n; i++) {
        if (line[i] !~ /^(not )?ok [0-9]/) continue
        if (line[i] ~ /# ?[Ss][Kk][Ii][Pp]/) skip++
        else if (line[i] ~ /^ok /) ok++
        else not_ok++
    }
    well = $0 ~ /"result": "(OK|EXPECTEDFAIL)"/
    skipped = $0 ~ /"result": "SKIP"/
    if (!well && !skipped && not_ok == 0) not_ok = 1
    if (ok + not_ok + skip == 0) { if (skipped) skip = 1; else ok = 1 }
    passed += ok; failed += not_ok; skips += skip
}
END {
    if (status != 0 && failed == 0) failed = 1
    printf "%d passed, %d failed, %d skipped\n", passed, failed, skips
    exit failed > 0
}' "$log"
