# sass.awk - reads what cuobjdump --dump-sass says of a model's code.
#
# Innermost loops that hold products (64 FFMA and more, or tensor cores) may not touch memory of a thread's own.  Those of FFMA that take
# their factors from group memory read it by 128 bits: a tile of 16 by 16 by single numbers has a read for 8 products, while a polynomial
# has many products for a read.  Of a model with such loops something reads global memory by 128 bits as well.  Prints what is wrong, and
# counts; the exit status tells whether something was.

# An innermost loop from instruction `first` to the jump back at `last`.
function check_loop(first, last,    k, fma, mma, lds, wide, own)
{
    for (k = first; k <= last; k++) {
        if (op[k] ~ /^FFMA/) fma++
        if (op[k] ~ /^[HI]MMA/) mma++
        if (op[k] ~ /^LDS/) lds++
        if (op[k] ~ /^LDS.*\.128/) wide++
        if (op[k] ~ /^(LDL|STL)/) own++
    }
    if (fma < 64 && !mma) return
    loops++
    if (own) wrong(own " accesses to memory of a thread's own in a loop of products")
    if (fma >= 64 && 10 * lds >= fma && !wide) wrong(fma " products, " lds " reads of group memory, none by 128 bits")
}

function wrong(what) { print name ": " what; bad = 1 }

# Jumps back, in the order of the code: a loop is innermost if no other one ends after its begin.
function check_function(    i, latest)
{
    latest = -1
    for (i = 0; i < nback; i++) {
        if (place[to[i]] > latest) check_loop(place[to[i]], back[i])
        latest = back[i]
    }
    n = nback = 0
    split("", place)
}

function hex(s,    i, v) { for (i = 1; i <= length(s); i++) v = 16 * v + index("0123456789abcdef", substr(s, i, 1)) - 1; return v + 0 }

/Function :/ { check_function(); name = $3 }
/^ *\/\*[0-9a-f]+\*\/ / {
    address = hex(substr($1, 3, length($1) - 4))
    place[address] = n
    i = $2 ~ /^@/ ? 3 : 2
    op[n] = $i
    if (op[n] ~ /^(LDG|LDGSTS).*128/) global++
    if (op[n] ~ /^BRA/ && match($0, /0x[0-9a-f]+/)) {
        target = hex(substr($0, RSTART + 2, RLENGTH - 2))
        if (target < address) { to[nback] = target; back[nback++] = n }
    }
    n++
}
END {
    check_function()
    print "# " loops + 0 " loops of products, " global + 0 " accesses of global memory by 128 bits"
    exit bad || (loops && !global)
}
