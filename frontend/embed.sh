#!/bin/sh
# embed.sh FILE... - built-in .nnd files as a C file on stdout: prelude_name(i), prelude_text(i).
set -eu
echo '/* made by embed.sh from frontend/prelude */'
echo '#include "frontend/build.h"'
echo 'static const char *const text[][2] = {'
for f in "$@"; do
    printf '{ "<prelude/%s>",\n' "$(basename "$f")"
    sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/"/' -e 's/$/\\n"/' "$f"
    echo '},'
done
cat <<'END'
};
enum { NTEXT = sizeof text / sizeof *text };
const char *prelude_name(int i) { return i < NTEXT ? text[i][0] : 0; }
const char *prelude_text(int i) { return text[i][1]; }
END
