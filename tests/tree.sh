#!/bin/sh
# tree.sh [BUILD] - what must hold of the tree itself: who includes whom, what lies at the top, how long files are,
# and (of the libraries in BUILD) that nothing mutable is global.
set -u
build=${1:+$(realpath "$1")}
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
. tests/tap.sh

sources() { find ir frontend passes backends runtime tests -name '*.[ch]' -o -name '*.def' | sort; }

# may_include FOLDER PATTERN [EXCEPT] - every quoted include in a folder matches; EXCEPT files are joining files.
may_include()
{
    find "$1" -name '*.[ch]' | grep -vE "${3-^$}" | xargs grep -nE '^ *# *include *"' | grep -vE "include *\"($2)" >"$work/up"
    cat "$work/up"
    [ ! -s "$work/up" ]
}

llvm_only_in_backends()
{
    ! grep -rnE '^ *# *include *<llvm' ir frontend passes runtime
}

top_level()
{
    ls -A | grep -vxE 'build.*' | grep -vE '^\.' >"$work/top"
    printf '%s\n' LICENSE README.md backends frontend ir meson.build meson.options meson_options.txt models passes \
        runtime start tests | diff - "$work/top"
}

door_signs()
{
    for folder in backends frontend ir models passes runtime tests; do
        [ -f "$folder/README.md" ] || { echo "$folder has no README.md"; return 1; }
    done
}

nothing_left_open()
{
    ! sources | xargs grep -nE '\b(TO''DO|FIX''ME|XX''X|HA''CK)\b'
}

# Paths of one developer's machine have no place in a tree for everyone.
no_machine_paths()
{
    ! grep -rnE '/(home|root|work)/|\.\./shared' --include='*' ir frontend passes backends runtime tests models \
        .ci start README.md meson.build | grep -v '^tests/tree.sh:'
}

opens_with_comment()
{
    for f in $(sources); do
        head -n 1 "$f" | grep -qE "^/\* $(basename "$f") - " || { echo "$f: the first line is not '/* $(basename "$f") - ...'"; bad=1; }
    done
    [ -z "${bad-}" ]
}

# A file over 600 lines has two subjects, a function over 70 is several functions.
lengths()
{
    sources | xargs wc -l | awk '$1 > 600 && $2 != "total" { print $2 ": " $1 " lines"; bad = 1 } END { exit bad }' &&
    sources | grep '\.c$' | xargs awk '
        /^\{/ { start = FNR }
        /^\}/ { if (start && FNR - start > 70) { print FILENAME ":" start ": " FNR - start " lines"; bad = 1 } start = 0 }
        END   { exit bad }'
}

# Sections that a program may write to; .data.rel.ro is written by the loader alone.
no_mutable_globals()
{
    ! objdump -t "$build"/*/lib*.a | awk '
        /file format/ { file = $1 }
        $(NF-2) ~ /^(\.data|\.bss|\.tdata|\.tbss|\*COM\*)/ && $(NF-2) !~ /^\.data\.rel\.ro/ && $(NF-1) !~ /^0+$/ {
            print file, $NF, "in", $(NF-2) }' | grep .
}

ok 'ir includes ir' may_include ir 'ir/'
ok 'frontend includes ir, frontend' may_include frontend '(ir|frontend)/' '^frontend/(compile|nnd)\.[ch]$'
ok 'passes includes ir, passes' may_include passes '(ir|passes)/'
ok 'backends includes ir, backends, runtime/abi.h' may_include backends '(ir|backends)/|runtime/abi\.h'
ok 'runtime includes runtime' may_include runtime 'runtime/'
ok 'only backends sees LLVM' llvm_only_in_backends
ok 'the top level is as described' top_level
ok 'every folder has its README.md' door_signs
ok 'nothing is left open' nothing_left_open
ok 'no path of a machine' no_machine_paths
ok 'every file opens by saying what it does' opens_with_comment
ok 'files and functions are short' lengths
if [ -n "$build" ]; then
    ok 'no mutable globals' no_mutable_globals "$@"
else
    skip 'no mutable globals' 'sanitizers have globals of their own'
fi
finish
