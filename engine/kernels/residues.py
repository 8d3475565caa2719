# mypy: allow-untyped-defs, no-check-untyped-defs
"""Montgomery arithmetic on whole arrays, one text for one row at a time (uint64) and for eight (u64x8).

With a modulus N of L limbs of 52 bits, L a multiple of ten, and R = 2**(52 * L) > 16 * N, the product of a and b is
a * b / R mod N. Rows of uint64 arrays hold numbers below N, limbs lowest first: one number in an array (n, L), or a
pair in an array (n, 2 * L), which stands for a0 + a1 * N modulo N**2. In a kernel a row is a flat buffer of words of
the kind of `like`; such buffers hold

  loose  numbers below 2 * N, limbs below 2**52.

Products of pairs never need more than the L limbs of N, where N**2 has twice as many. With T = a0 * b0 the reduction
finds m with T + m * N = R * u, so T = R * u - m * N, and modulo N**2

  (a0 + a1 * N) * (b0 + b1 * N) / R = u + N * (a0 * b1 + a1 * b0 - m) / R.

That is three products and two reductions of L limbs, 5/8 of the work that N**2 takes (7/12 for squares). The
complement of m, limb by limb, is R - 1 - m: with `offset` = 1 - R mod N, added to it, nothing is negative.

A loose times a loose number is loose: u < (4 * N * N + R * N) / R < 2 * N, and the second of a pair is below
(8 * N * N + R + N + R * N) / R < 1.5 * N + 2. So is a number below R / 2**52 times one below N, of a pair too. Only
what leaves a kernel is brought below N (`settled`).

`modulus` comes as the limbs of N, those of `offset`, and the word -1/N mod 2**52. Where a digit picks an entry of a
table the whole table is read, and the entry is picked by masks: neither branches nor addresses depend on it.

The first group of functions is what a tier must bring, as overloads: see portable/montgomery.py and
simd/montgomery.py. A column is a word of the kind of `like`, or in `portable` two: sums of products at one power of
2**52.
"""

from __future__ import annotations

import numpy as np

from engine.kernels.field import get, opaque, put, spread
from engine.kernels.jit import helper, scratch

U = np.uint64
_0, _1, _52, _63 = U(0), U(1), U(52), U(63)
_MASK = U(2**52 - 1)


def add_product(columns, a, b, limbs, like):
    """Add the product of two numbers to 2 * L columns."""
    raise NotImplementedError


def add_square(columns, a, limbs, like):
    """Write the square of a number to 2 * L columns that are zero."""
    raise NotImplementedError


def reduce(out, columns, modulus, limbs, quotients, like):
    """Write (T + m * N) / R for the columns' number T, with the m, below R, that makes it whole; m to `quotients`."""
    raise NotImplementedError


def double(columns, limbs, like):
    """Double 2 * L columns."""
    raise NotImplementedError


def carried(out, columns, first, count, like):
    """Write the number of `count` columns from column `first`, which is below 2**(52 * count)."""
    raise NotImplementedError


def raise_column(columns, j, word, like):
    """Add a word to column j."""
    raise NotImplementedError


def gather(rows, places, buffer, like):
    """Read the rows whose numbers `places` holds, one for each lane."""
    raise NotImplementedError


def scatter(buffer, rows, first, like):
    """Write the lanes to the rows from `first`, as far as there are rows."""
    raise NotImplementedError


# What follows is common to the tiers.


@helper
def room(count, rows, lanes):
    """Return scratch for `count` rows."""
    return scratch(count * rows.shape[1] * lanes)


@helper
def workspace(modulus, lanes):
    """Return what products work in, see `parts`."""
    return scratch(((modulus.size - 1) >> 1) * lanes * 6)


@helper
def spread_words(words, lanes, like):
    """Return a number, or the modulus, as a buffer: each word in every lane."""
    buffer = scratch(words.size * lanes)
    for j in range(words.size):
        put(buffer, j, spread(words[j], like))
    return buffer


@helper
def in_order(places, first, count):
    """Name the rows from `first`, the last one again where there are no more: so one row serves all of them."""
    for lane in range(places.size):
        places[lane] = min(first + lane, count - 1)


@helper
def parts(modulus, work, lanes):
    """Return L, and the parts of a workspace: columns, quotients, a number that waits."""
    limbs = (modulus.size // lanes - 1) >> 1
    size = limbs * lanes
    wide = 4 * size if lanes == 1 else 2 * size  # a column alone is two words
    return limbs, work[:wide], work[4 * size : 5 * size], work[5 * size :]


@helper
def product(out, a, b, modulus, work, lanes, like):
    """Write the product of two rows to `out`, which may be one of them; loose."""
    limbs, columns, quotients, waiting = parts(modulus, work, lanes)
    size = limbs * lanes
    columns[:] = _0
    add_product(columns, a, b, limbs, like)
    if out.size == size:
        reduce(out, columns, modulus, limbs, quotients, like)
        return
    reduce(waiting, columns, modulus, limbs, quotients, like)
    columns[:] = _0
    add_product(columns, a, b[size:], limbs, like)
    add_product(columns, a[size:], b, limbs, like)
    less_quotients(columns, quotients, modulus, limbs, like)
    reduce(out[size:], columns, modulus, limbs, quotients, like)
    out[:size] = waiting[:size]


@helper
def square(out, a, modulus, work, lanes, like):
    """Write the square of a row to `out`, which may be the row; loose."""
    limbs, columns, quotients, waiting = parts(modulus, work, lanes)
    size = limbs * lanes
    columns[:] = _0
    add_square(columns, a, limbs, like)
    if out.size == size:
        reduce(out, columns, modulus, limbs, quotients, like)
        return
    reduce(waiting, columns, modulus, limbs, quotients, like)
    columns[:] = _0
    add_product(columns, a, a[size:], limbs, like)
    double(columns, limbs, like)
    less_quotients(columns, quotients, modulus, limbs, like)
    reduce(out[size:], columns, modulus, limbs, quotients, like)
    out[:size] = waiting[:size]


@helper
def less_quotients(columns, quotients, modulus, limbs, like):
    """Subtract m from the columns' number, modulo N: add its complement and `offset`, limb by limb below 2**53."""
    for j in range(limbs):
        raise_column(columns, j, (get(quotients, j, like) ^ _MASK) + get(modulus, limbs + j, like), like)


@helper
def settled(a, modulus, spare, lanes, like):
    """Bring a loose row below N; where N is taken from the first of a pair the second gains one."""
    limbs = (modulus.size // lanes - 1) >> 1
    size = limbs * lanes
    kept = below(a, modulus, limbs, spread(_0, like), spare, like)
    if a.size > size:
        below(a[size:], modulus, limbs, kept + _1, spare, like)


@helper
def below(a, modulus, limbs, carry, spare, like):
    """Add a carry of 0 or 1 to a number below 2 * N - 1, subtract N unless it is below; return all ones where it is."""
    borrow = spread(_0, like)
    for j in range(limbs):
        raised = get(a, j, like) + carry
        carry = raised >> _52
        low = raised & _MASK
        rest = low - get(modulus, j, like) - borrow
        borrow = rest >> _63
        put(a, j, low)
        put(spare, j, rest & _MASK)
    keep = opaque(spread(_0, like) - borrow)
    for j in range(limbs):
        x, y = get(a, j, like), get(spare, j, like)
        put(a, j, y ^ ((x ^ y) & keep))
    return keep


@helper
def multiply_rows(a, b, modulus, out, lanes, like):
    n, work = spread_words(modulus, lanes, like), workspace(modulus, lanes)
    x, y, places = room(1, out, lanes), room(1, out, lanes), np.empty(lanes, np.int64)
    for first in range(0, out.shape[0], lanes):
        in_order(places, first, a.shape[0])
        gather(a, places, x, like)
        in_order(places, first, b.shape[0])
        gather(b, places, y, like)
        product(x, x, y, n, work, lanes, like)
        settled(x, n, y, lanes, like)
        scatter(x, out, first, like)


@helper
def square_rows(a, count, modulus, out, lanes, like):
    n, work = spread_words(modulus, lanes, like), workspace(modulus, lanes)
    x, y, places = room(1, out, lanes), room(1, out, lanes), np.empty(lanes, np.int64)
    for first in range(0, out.shape[0], lanes):
        in_order(places, first, a.shape[0])
        gather(a, places, x, like)
        for _ in range(count):
            square(x, x, n, work, lanes, like)
        settled(x, n, y, lanes, like)
        scatter(x, out, first, like)


@helper
def add_rows(a, b, modulus, out, lanes, like):
    """Add rows below N: the sum is loose. R exceeds N by bits enough: the first of a pair carries nothing on."""
    n = spread_words(modulus, lanes, like)
    x, y, places = room(1, out, lanes), room(1, out, lanes), np.empty(lanes, np.int64)
    for first in range(0, out.shape[0], lanes):
        in_order(places, first, a.shape[0])
        gather(a, places, x, like)
        in_order(places, first, b.shape[0])
        gather(b, places, y, like)
        carry = spread(_0, like)
        for j in range(out.shape[1]):
            total = get(x, j, like) + get(y, j, like) + carry
            put(x, j, total & _MASK)
            carry = total >> _52
        settled(x, n, y, lanes, like)
        scatter(x, out, first, like)


@helper
def same_mask(a, b):
    """Return the mask of two words below 2**63 being equal."""
    miss = a ^ b
    return opaque(((miss | (_0 - miss)) >> _63) - _1)


@helper
def digit_of(digits, first, window, staging, like):
    """Return digit number `window` of the exponents of the rows from `first`; one exponent may serve all rows."""
    for lane in range(staging.size):
        staging[lane] = U(digits[min(first + lane, digits.shape[0] - 1), window])
    return get(staging, 0, like)


@helper
def pick(out, table, entries, width, digit, like):
    """Write the entry of each lane's own digit, having read all of a table of 4, 8, 16 ... rows."""
    for j in range(width):
        put(out, j, spread(_0, like))
    for e in range(0, entries, 4):
        at = e * width
        m0, m1 = same_mask(digit, spread(U(e), like)), same_mask(digit, spread(U(e + 1), like))
        m2, m3 = same_mask(digit, spread(U(e + 2), like)), same_mask(digit, spread(U(e + 3), like))
        for j in range(width):
            low = get(table, at + j, like) & m0 | get(table, at + width + j, like) & m1
            high = get(table, at + 2 * width + j, like) & m2 | get(table, at + 3 * width + j, like) & m3
            put(out, j, get(out, j, like) | low | high)


@helper
def pick_shared(out, table, digit, like):
    """As `pick`, from a table (entries, width) that all lanes share."""
    for j in range(table.shape[1]):
        put(out, j, spread(_0, like))
    for e in range(0, table.shape[0], 4):
        m0, m1 = same_mask(digit, spread(U(e), like)), same_mask(digit, spread(U(e + 1), like))
        m2, m3 = same_mask(digit, spread(U(e + 2), like)), same_mask(digit, spread(U(e + 3), like))
        for j in range(table.shape[1]):
            low = spread(table[e, j], like) & m0 | spread(table[e + 1, j], like) & m1
            high = spread(table[e + 2, j], like) & m2 | spread(table[e + 3, j], like) & m3
            put(out, j, get(out, j, like) | low | high)


@helper
def tabulate(x, one, table, entries, n, work, lanes, like):
    """Fill a table with the powers of x from 0."""
    size = x.size
    table[:size] = one
    table[size : 2 * size] = x
    for e in range(2, entries):
        into, half = table[e * size : (e + 1) * size], e // 2
        if e % 2 == 0:
            square(into, table[half * size : (half + 1) * size], n, work, lanes, like)
        else:
            product(into, table[(e - 1) * size : e * size], x, n, work, lanes, like)


@helper
def power_rows(a, digits, bits, one, modulus, out, lanes, like):
    """Raise each row to its own exponent, or all to one: digits of `bits` bits, at least 2, most significant first."""
    n, work, width = spread_words(modulus, lanes, like), workspace(modulus, lanes), out.shape[1]
    x, y, places = room(1, out, lanes), room(1, out, lanes), np.empty(lanes, np.int64)
    entries = 1 << bits
    table, unit, staging = room(entries, out, lanes), spread_words(one[0], lanes, like), scratch(lanes)
    for first in range(0, out.shape[0], lanes):
        in_order(places, first, a.shape[0])
        gather(a, places, x, like)
        tabulate(x, unit, table, entries, n, work, lanes, like)
        pick(x, table, entries, width, digit_of(digits, first, 0, staging, like), like)
        for window in range(1, digits.shape[1]):
            for _ in range(bits):
                square(x, x, n, work, lanes, like)
            pick(y, table, entries, width, digit_of(digits, first, window, staging, like), like)
            product(x, x, y, n, work, lanes, like)
        settled(x, n, y, lanes, like)
        scatter(x, out, first, like)


@helper
def fixed_power_rows(digits, table, modulus, out, lanes, like):
    """Multiply the entries that the digits of each row name, one a window: no squarings."""
    n, work = spread_words(modulus, lanes, like), workspace(modulus, lanes)
    x, y, staging = room(1, out, lanes), room(1, out, lanes), scratch(lanes)
    for first in range(0, out.shape[0], lanes):
        pick_shared(x, table[0], digit_of(digits, first, 0, staging, like), like)
        for window in range(1, digits.shape[1]):
            pick_shared(y, table[window], digit_of(digits, first, window, staging, like), like)
            product(x, x, y, n, work, lanes, like)
        settled(x, n, y, lanes, like)
        scatter(x, out, first, like)


@helper
def list_step(starts, stops, members, first, step, places, staging, like):
    """Name row number `step` of each of the lists from `first`; return the mask of the list being that long."""
    for lane in range(places.size):
        i = min(first + lane, starts.size - 1)
        inside = starts[i] + step < stops[i]
        places[lane] = members[starts[i] + step] if inside else 0
        staging[lane] = _0 - U(inside)
    return get(staging, 0, like)


@helper
def product_rows(a, starts, stops, members, one, modulus, out, lanes, like):
    """Multiply the rows that each list names; lanes go on, with factors of 1, until the longest of theirs is over."""
    n, work = spread_words(modulus, lanes, like), workspace(modulus, lanes)
    x, y, places = room(1, out, lanes), room(1, out, lanes), np.empty(lanes, np.int64)
    unit, staging = spread_words(one[0], lanes, like), scratch(lanes)
    for first in range(0, out.shape[0], lanes):
        longest = 0
        for i in range(first, min(first + lanes, out.shape[0])):
            longest = max(longest, stops[i] - starts[i])
        x[:] = unit
        for step in range(longest):
            into = x if step == 0 else y
            inside = list_step(starts, stops, members, first, step, places, staging, like)
            gather(a, places, into, like)
            for j in range(out.shape[1]):
                idle = get(unit, j, like)
                put(into, j, idle ^ ((idle ^ get(into, j, like)) & inside))
            if step:
                product(x, x, y, n, work, lanes, like)
        settled(x, n, y, lanes, like)
        scatter(x, out, first, like)


@helper
def join_rows(a, modulus, out, lanes, like):
    """Write a0 + a1 * N, as 2 * L limbs, for pairs (n, 2 * L) below N that stand for themselves."""
    n, work = spread_words(modulus, lanes, like), workspace(modulus, lanes)
    x, places = room(1, out, lanes), np.empty(lanes, np.int64)
    limbs, columns, _, _ = parts(n, work, lanes)
    for first in range(0, out.shape[0], lanes):
        in_order(places, first, a.shape[0])
        gather(a, places, x, like)
        columns[:] = _0
        add_product(columns, x[limbs * lanes :], n, limbs, like)
        for j in range(limbs):
            raise_column(columns, j, get(x, j, like), like)
        carried(x, columns, 0, 2 * limbs, like)
        scatter(x, out, first, like)
