#!/bin/sh
# embed.sh FILE - a text file as a C file on stdout: header_abi_text.
set -eu
echo '/* made by embed.sh from runtime/abi.h */'
echo '#include "backends/backend.h"'
echo 'const char header_abi_text[] ='
sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/"/' -e 's/$/\\n"/' "$1"
echo ';'
