#!/bin/sh
# cli.sh NND - the command line: what it answers, where, and with which exit status.
set -u
nnd=$(realpath "$1")
cd "${NND_ROOT:-$(dirname "$0")/..}" || exit 1
. tests/tap.sh

# status WANT ARG... - nnd ends with this status.
status()
{
    want=$1
    shift
    ends "$want" "$nnd" "$@"
}

# wrong SENTENCE ARG... - a mistake on the command line: status 2, nothing on stdout, and this one line on stderr.
wrong()
{
    sentence=$1
    shift
    status 2 "$@" || return 1
    [ ! -s "$work/out" ] || { echo 'said on stdout:'; cat "$work/out"; return 1; }
    printf '%s\n' "$sentence" | diff -u - "$work/err"
}

# says WORD ARG... - status 0, WORD on stdout, nothing on stderr.
says()
{
    word=$1
    shift
    status 0 "$@" || return 1
    [ ! -s "$work/err" ] || { echo 'said on stderr:'; cat "$work/err"; return 1; }
    grep -qF -- "$word" "$work/out" || { echo "no '$word' in:"; cat "$work/out"; return 1; }
}

# silent ARG... - status 0 and not a word.
silent()
{
    status 0 "$@" && cat "$work/out" "$work/err" && [ ! -s "$work/out" ] && [ ! -s "$work/err" ]
}

ok 'help' says 'nnd train' --help
ok 'help as a command' says 'nnd train' help
ok 'help of a command' says '--epochs N' help train
for command in $("$nnd" help | sed -n 's/^  nnd \([a-z]*\)  .*/\1/p'); do
    ok "$command --help" says "nnd $command" "$command" --help
done
ok 'help wherever it stands' says '--epochs N' train --seed 3 -h model.nnd
ok 'version' says 'nnd ' version
ok '--version' says 'nnd ' --version

ok 'no command' wrong 'nnd: error: wants a command; nnd help lists them'
ok 'misspelt command' wrong 'nnd: error: unknown command `trian`; did you mean `train`?' trian models/mlp.nnd
ok 'misspelt command, help' wrong 'nnd: error: unknown command `trian`; did you mean `train`?' help trian
ok 'far from any command' wrong 'nnd: error: unknown command `frobnicate`' frobnicate
ok 'misspelt option' wrong 'nnd train: error: unknown option `--epoch`; did you mean `--epochs`?' train --epoch 5 x.nnd
ok 'no abbreviations' wrong 'nnd train: error: unknown option `--ep`' train --ep 5 x.nnd
ok 'unknown letter' wrong 'nnd train: error: unknown option `-x`' train -x
ok 'an option of another command' wrong 'nnd check: error: unknown option `--epochs`' check --epochs 5 x.nnd
ok 'the same, before the command' wrong 'nnd check: error: unknown option `--epochs`' --epochs 5 check x.nnd
ok 'no file' wrong 'nnd train: error: wants MODEL.nnd' train
ok 'two files' wrong 'nnd train: error: unexpected `b.nnd`' train a.nnd b.nnd
ok 'an operand too many' wrong 'nnd ops: error: unexpected `a`' ops a
ok 'no value' wrong 'nnd train: error: --seed: wants N after it' train x.nnd --seed
ok 'not a number' wrong 'nnd train: error: --epochs: wants a whole number from 1, got `3x`' train --epochs 3x x.nnd
ok 'zero' wrong 'nnd train: error: --batch: wants a whole number from 1, got `0`' train --batch=0 x.nnd
ok 'too large' wrong 'nnd train: error: --steps: wants a whole number from 1, got `99999999999999999999`' \
    train --steps 99999999999999999999 x.nnd
ok 'negative seed' wrong 'nnd train: error: --seed: wants a whole number from 0 to 2^64 - 1, got `-1`' train --seed -1 x.nnd
ok 'not a choice' wrong 'nnd train: error: --float: wants one of 32|64, got `16`' train --float 16 x.nnd
ok 'half a choice' wrong 'nnd train: error: --float: wants one of 32|64, got `6`' train --float 6 x.nnd
ok 'a flag with a value' wrong 'nnd train: error: --quiet: takes no value, got `yes`' train --quiet=yes x.nnd
ok 'not a definition' wrong 'nnd train: error: -D: wants NAME=NUMBER, got `width`' train -D width x.nnd
ok 'unknown target' wrong 'nnd train: error: --target: unknown target `cpy`; did you mean `cpu`?' train --target cpy x.nnd
ok 'PTX of a processor' wrong 'nnd dump: error: --after: the target cpu makes no PTX, --target cuda does' dump --after ptx models/slp.nnd
ok 'PTX' says '.visible .entry k0_infer_1' dump models/slp.nnd --entry infer --batch 1 --target cuda --cpu sm_90 --after ptx
ok 'unknown stage' wrong 'nnd dump: error: --after: unknown stage `fuze`; did you mean `fuse`?' dump --after fuze x.nnd
ok 'unknown pass' wrong 'nnd opt: error: --run: unknown pass `simplfy`; did you mean `simplify`?' opt --run simplfy x.ir
ok 'passes out of order' wrong 'nnd opt: error: --run: fuse runs before lower' opt --run lower,fuse x.ir
ok 'a pass that is needed' wrong "nnd train: error: --skip: lower can't be left out, only attend, canonical, layout, simplify, sparse, fuse, schedule can" \
    train --skip lower x.nnd
ok 'no model' status 1 check nowhere.nnd
ok 'its message' grep -qx 'nnd check: error: cannot read nowhere.nnd: No such file or directory' "$work/err"
ok 'a folder for a model' status 1 check models

ok 'ops' says 'sigmoid' ops
ok 'rules' says 'neg_neg' rules
ok 'passes' says 'autodiff' passes
ok 'targets' says 'interp' targets

for model in models/*.nnd; do
    ok "check $model" silent check "$model"
    case $model in *adam.nnd | *vae.nnd | *gan.nnd | *lenet.nnd | *cnn.nnd) continue ;; esac      # minutes of walking, under sanitizers
    case ${NND_FEW-}$model in 1*resnet.nnd | 1*lstm.nnd | 1*autoencoder.nnd) continue ;; esac
    ok "check --verify $model" silent check --verify "$model"
    [ -z "${NND_FEW-}" ] || continue
    ok "check --verify --float 64 $model" silent check --verify --float 64 "$model"
done
check_stdin() { "$nnd" check - <models/mlp.nnd; }
ok 'check reads stdin' check_stdin
ok 'an option after --' wrong 'nnd check: error: unexpected `b`' check -- --seed b

# A dump of a module is a module: it reads back, and prints as it stood.
reads_back()
{
    # what fuse says of nodes are comments
    "$nnd" dump models/mlp.nnd --after "$1" | sed 's/ *# .*//' >"$work/a.ir" && "$nnd" opt "$work/a.ir" >"$work/b.ir" && diff -u "$work/a.ir" "$work/b.ir"
}
for stage in build $("$nnd" passes | cut -d' ' -f1); do
    ok "dump --after $stage reads back" reads_back "$stage"
done

# The passes one at a time, through text, make what they make together.
stepwise()
{
    "$nnd" dump models/mlp.nnd --target cpu >"$work/step.ir" || return 1
    for pass in $("$nnd" passes | cut -d' ' -f1); do
        "$nnd" opt "$work/step.ir" --run "$pass" >"$work/next.ir" || return 1
        mv "$work/next.ir" "$work/step.ir"
    done
    "$nnd" dump models/mlp.nnd >"$work/build.ir" &&
        "$nnd" opt "$work/build.ir" --run "$("$nnd" passes | cut -d' ' -f1 | paste -sd,)" >"$work/whole.ir" &&
        diff -u "$work/whole.ir" "$work/step.ir"
}
ok 'passes through text' stepwise

# No rewrites, some, all: what simplify made, to find the one at fault.
rules_limited()
{
    for limit in 0 1; do
        "$nnd" dump models/mlp.nnd --entry train --after simplify --rule-limit $limit >"$work/limit$limit.ir" || return 1
    done
    "$nnd" dump models/mlp.nnd --entry train --after simplify >"$work/all.ir" || return 1
    ! cmp -s "$work/limit0.ir" "$work/limit1.ir" && ! cmp -s "$work/limit1.ir" "$work/all.ir" || return 1
    "$nnd" dump models/mlp.nnd --entry train --after simplify --skip canonical,simplify >"$work/none.ir" && cmp "$work/none.ir" "$work/limit0.ir" || return 1
    "$nnd" check --verify --rule-limit 1 models/mlp.nnd
}
ok '--rule-limit' rules_limited

# What is left of the perceptron, for a command that fails wherever there is a sigmoid.
reduced()
{
    printf '#!/bin/sh\n! grep -q sigmoid "$1"\n' >"$work/fails" && chmod +x "$work/fails"
    "$nnd" dump models/mlp.nnd --entry train --batch 3 >"$work/large.ir" &&
        status 0 reduce "$work/large.ir" --while "$work/fails" -o "$work/small.ir" || return 1
    grep -q sigmoid "$work/small.ir" && [ "$(grep -c ' = ' "$work/small.ir")" -lt 4 ] && "$nnd" opt "$work/small.ir" >"$work/again.ir" &&
        diff -u "$work/small.ir" "$work/again.ir"
}
ok 'reduce' reduced
ok 'a command that succeeds reduces nothing' status 1 reduce "$work/large.ir" --while true
ok 'its message' said '`true` succeeds on it'
ok 'a command that is not there' status 3 reduce "$work/large.ir" --while no-such-command
ok 'nothing to reduce by' wrong "nnd reduce: error: wants --while 'COMMAND': what fails on the module, given a file as its last argument" \
    reduce "$work/large.ir"

ok 'dump --after parse' says 'model mlp' dump models/mlp.nnd --after parse
# Why neighbours are, or are not, in one kernel.
reasons()
{
    "$nnd" dump models/cnn.nnd --after fuse --entry train --batch 64 >"$work/reasons" && "$nnd" opt "$work/reasons" --run lower >/dev/null || return 1
    for why in 'conv .* in k2 .*# not with %[0-9]*: each result needs many of its elements$' 'pad .*# stored: a contraction reads it many times$' \
        '# computed by its user$' '# computed again by its users: cheaper than to store$' '# computed by its users: all that it takes is stored$' \
        'exp .*# not with %[0-9]*: what lies between needs its kernel whole; stored: its users would compute it 2 times$' \
        '# stored: its axes are joined, and it is looked at by them$'; do
        grep -q -- "$why" "$work/reasons" || { echo "no '$why'"; return 1; }
    done
    ! "$nnd" dump models/cnn.nnd --after simplify --entry train --batch 64 | grep -q '# '
}
ok 'dump --after fuse says why' reasons
ok 'dump --after llvm' says 'define ' dump models/mlp.nnd --after llvm --entry train
ok 'dump --after asm' says '.text' dump models/mlp.nnd --after asm --entry infer
ok 'no code of the oracle' wrong 'nnd dump: error: --after: the target interp makes no code' \
    dump models/mlp.nnd --after llvm --target interp
ok 'dump --target interp' says 'graph train' dump models/mlp.nnd --target interp --after all
ok 'dump --entry' says 'graph eval' dump models/mlp.nnd --entry eval --batch 3
one_entry() { [ "$(grep -c '^graph ' "$work/out")" = 1 ]; }
ok 'and no other entry' one_entry
all_stages()
{
    says '# after schedule' dump models/mlp.nnd --after all &&
        sed -n 's/^# after //p' "$work/out" >"$work/stages" &&
        { echo parse; echo build; "$nnd" passes | cut -d' ' -f1; } | diff -u - "$work/stages"
}
ok 'dump --after all has every stage' all_stages
finish
