# tap.sh - how the shell tests report: source it, call ok and equal, end with finish.
#
# Each case is a line `ok N - name` or `not ok N - name`, what went wrong after #; the plan comes last, so a
# script that stops half way fails.

count=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ok NAME COMMAND... - the command succeeds; what it printed is shown if it doesn't.
ok()
{
    name=$1
    shift
    count=$((count + 1))
    if "$@" >"$work/said" 2>&1; then
        echo "ok $count - $name"
    else
        echo "not ok $count - $name"
        sed 's/^/# /' "$work/said"
    fi
}

# ends STATUS COMMAND... - the command ends with this status; what it says is in $work/out and $work/err.
ends()
{
    want=$1
    shift
    "$@" >"$work/out" 2>"$work/err"
    got=$?
    [ "$got" = "$want" ] || { echo "exit status $got, not $want: $*"; cat "$work/out" "$work/err"; return 1; }
}

# said PATTERN - the last command said so on stderr.
said() { grep -q -- "$1" "$work/err" || { echo "said no '$1'"; cat "$work/err"; return 1; }; }

# equal NAME WANT GOT - two files are the same.
equal()
{
    ok "$1" diff -u "$2" "$3"
}

skip()
{
    count=$((count + 1))
    echo "ok $count - $1 # SKIP $2"
}

finish()
{
    echo "1..$count"
}
