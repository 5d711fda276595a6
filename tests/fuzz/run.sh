#!/bin/sh
# run.sh [SECONDS [TARGET...]] - build the fuzz targets with clang and run each for so long (default: 600, all).
#
# Takes clang from $CLANG (default: clang-22, with its compiler-rt), works in $FUZZ (default: /tmp/nnd-fuzz), which
# keeps the corpus from one run to the next, and speaks a line a target:
#   ir        600 s  1234567 execs  0 crashes
# Inputs that crash, leak or hang lie in $FUZZ/crash/TARGET.  The exit status tells whether there are none.
set -eu
seconds=${1:-600}
[ $# -eq 0 ] || shift
root=$(cd "$(dirname "$0")/../.." && pwd)
clang=${CLANG:-clang-22} work=${FUZZ:-/tmp/nnd-fuzz}
flags="-std=gnu11 -O1 -g -ffp-contract=off -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined"
[ $# -gt 0 ] || set -- $(cd "$root/tests/fuzz" && ls fuzz_*.c | sed 's/^fuzz_//; s/\.c$//')

# ---- the library: what the targets need of it is linked, so its mains and what needs LLVM stay out ----
mkdir -p "$work/obj"
cd "$root"
sh frontend/embed.sh frontend/prelude/*.nnd > "$work/prelude.c"
{ ls ir/*.c passes/*.c
  ls frontend/*.c | grep -Ev '/(nnd|job|cmd_[a-z]*)\.c$'
  ls runtime/*.c | grep -Ev '/(plot_|program_|png\.c)'; echo "$work/prelude.c"; } > "$work/sources"
rm -f "$work/libnnd.a" "$work"/obj/*
xargs -P "$(getconf _NPROCESSORS_ONLN)" -I{} sh -c \
  "$clang $flags -I. -c {} -o $work/obj/\$(echo {} | tr / _).o" < "$work/sources"
ar rcs "$work/libnnd.a" "$work"/obj/*.o
for target; do
  $clang $flags -fsanitize=fuzzer -I. "tests/fuzz/fuzz_$target.c" "$work/libnnd.a" -lz -ljansson -lm -lpthread -ldl \
    -o "$work/fuzz_$target"
done

$clang -O1 tests/tools/make_files.c -lz -o "$work/make_files"

# ---- seeds: the texts and files that the tests read, or the smallest there are ----
seeds() {
  case $1 in
  model) cp models/*.nnd tests/*.nnd tests/bad/*.nnd frontend/prelude/*.nnd "$2" ;;
  ir)    for f in tests/golden/*/*.ir tests/golden/*/*.want tests/unit/*.ir; do
           cp "$f" "$2/$(echo "$f" | tr / _)"
         done ;;
  idx)   printf '\000\000\000\010\003\000\000\000\001\000\000\000\002\000\000\000\003abcdef' > "$2/image"
         printf '\001\000\000\010\001\000\000\000\002ab' > "$2/label"
         { printf '\001'; printf '\000\000\010\001\000\000\000\002ab' | gzip -n; } > "$2/packed" ;;
  npy)   { printf '\223NUMPY\001\000\166\000'
           printf '%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }"
           printf 'abcdefgh'; } > "$2/f4" ;;
  npz)   seeds npy "$2"
         "$work/make_files" zip "$2/stored" stored "x.npy=$2/f4"
         "$work/make_files" zip "$2/deflated" deflated "y.npy=$2/f4" "x.npy=$2/f4" ;;
  csv)   printf 'a,b,c\r\n1,2.5,one\r\n"3","4e1","two ""2"", more"\r\n' > "$2/names"
         printf '1,one,2\n3,two,4\n' > "$2/numbers" ;;
  weights) h='{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'
         { printf "\\$(printf %03o ${#h})\000\000\000\000\000\000\000%s" "$h"; printf 'abcdefghijklmnopqrstuvwx'; } > "$2/w" ;;
  esac
}

crashes=0
for target; do
  seed=$work/seed/$target corpus=$work/corpus/$target crash=$work/crash/$target
  rm -rf "$seed"
  mkdir -p "$seed" "$corpus" "$crash"
  seeds "$target" "$seed"
  # words that a change of bytes would not find
  cat "$seed"/* | LC_ALL=C grep -aoE '[a-z_]{3,}' | sort -u | sed 's/.*/"&"/' > "$work/$target.dict"
  "$work/fuzz_$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -max_len=8192 -print_final_stats=1 \
    -dict="$work/$target.dict" -artifact_prefix="$crash/" "$corpus" "$seed" > "$work/$target.log" 2>&1 || :
  execs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$target.log")
  n=$(ls "$crash" | grep -Evc '^slow-unit' || :)
  echo "$target $seconds s  ${execs:-0} execs  $n crashes"
  [ -n "$execs" ] || { tail -20 "$work/$target.log"; n=1; }
  crashes=$((crashes + n))
done
[ "$crashes" -eq 0 ]
