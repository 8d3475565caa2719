# mypy: allow-untyped-defs, no-check-untyped-defs
"""Montgomery arithmetic on whole arrays, one text for one row at a time (uint64) and for eight (u64x8).

With a modulus N of L limbs of 52 bits, L a multiple of ten, and R = 2**(52 * L) > 4 * N, the product of a and b is
a * b / R mod N. Rows of uint64 arrays (n, L) hold numbers below N, limbs little-endian. In a kernel a number is a flat
buffer of L words of the kind of `like`; such buffers hold

  loose  any number below 2 * N, limbs below 2**52.

The product of two loose numbers is loose: below (4 * N * N + R * N) / R < 2 * N. So is that of a number below R and one
below N: below (R * N + R * N) / R. Only what leaves a kernel is brought below N (`settled`).

`modulus` comes as L limbs of N and the word -1/N mod 2**52. Where a digit picks an entry of a table the whole table is
read, and the entry is picked by masks: neither branches nor addresses depend on it.

The first group of functions is what a tier must bring, as overloads: see portable/montgomery.py and
simd/montgomery.py.
"""

from __future__ import annotations

import numpy as np

from engine.kernels.field import get, opaque, put, spread
from engine.kernels.jit import helper, scratch

U = np.uint64
_0, _1, _52, _63 = U(0), U(1), U(52), U(63)
_MASK = U(2**52 - 1)
WINDOW = 4  # bits of a digit of an exponent
ENTRIES = 1 << WINDOW


def product(out, a, b, modulus, columns, like):
    """Write the product of a and b to `out`, which may be one of them; loose. `columns` is scratch of 2 * L words."""
    raise NotImplementedError


def square(out, a, modulus, columns, like):
    """Write the square of a, loose."""
    raise NotImplementedError


def gather(rows, places, buffer, like):
    """Read the rows whose numbers `places` holds, one for each lane."""
    raise NotImplementedError


def scatter(buffer, rows, first, like):
    """Write the lanes to the rows from `first`, as far as there are rows."""
    raise NotImplementedError


# What follows is common to the tiers.


@helper
def room(count, modulus, lanes, like):
    """Return scratch for `count` numbers."""
    return scratch(count * (modulus.size - 1) * lanes)


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
def settled(a, modulus, limbs, difference, like):
    """Bring a number below 2 * N, limbs below 2**52, below N: subtract N and take the difference unless it borrows."""
    borrow = spread(_0, like)
    for j in range(limbs):
        total = get(a, j, like) - get(modulus, j, like) - borrow
        put(difference, j, total & _MASK)
        borrow = total >> _63
    keep = opaque(spread(_0, like) - borrow)
    for j in range(limbs):
        x, y = get(a, j, like), get(difference, j, like)
        put(a, j, y ^ ((x ^ y) & keep))


@helper
def multiply_rows(a, b, modulus, out, lanes, like):
    n, limbs = spread_words(modulus, lanes, like), modulus.size - 1
    x, y, columns = room(1, modulus, lanes, like), room(1, modulus, lanes, like), room(2, modulus, lanes, like)
    places = np.empty(lanes, np.int64)
    for first in range(0, out.shape[0], lanes):
        in_order(places, first, a.shape[0])
        gather(a, places, x, like)
        in_order(places, first, b.shape[0])
        gather(b, places, y, like)
        product(x, x, y, n, columns, like)
        settled(x, n, limbs, y, like)
        scatter(x, out, first, like)


@helper
def square_rows(a, count, modulus, out, lanes, like):
    n, limbs = spread_words(modulus, lanes, like), modulus.size - 1
    x, y, columns = room(1, modulus, lanes, like), room(1, modulus, lanes, like), room(2, modulus, lanes, like)
    places = np.empty(lanes, np.int64)
    for first in range(0, out.shape[0], lanes):
        in_order(places, first, a.shape[0])
        gather(a, places, x, like)
        for _ in range(count):
            square(x, x, n, columns, like)
        settled(x, n, limbs, y, like)
        scatter(x, out, first, like)


@helper
def add_rows(a, b, modulus, out, lanes, like):
    """Add numbers below N, in either form; the sum of two is loose once carried."""
    n, limbs = spread_words(modulus, lanes, like), modulus.size - 1
    x, y = room(1, modulus, lanes, like), room(1, modulus, lanes, like)
    places = np.empty(lanes, np.int64)
    for first in range(0, out.shape[0], lanes):
        in_order(places, first, a.shape[0])
        gather(a, places, x, like)
        in_order(places, first, b.shape[0])
        gather(b, places, y, like)
        carry = spread(_0, like)
        for j in range(limbs):
            total = get(x, j, like) + get(y, j, like) + carry
            put(x, j, total & _MASK)
            carry = total >> _52
        settled(x, n, limbs, y, like)
        scatter(x, out, first, like)


@helper
def same_mask(a, b):
    """Return the mask of two words below 2**63 being equal."""
    miss = a ^ b
    return ((miss | (_0 - miss)) >> _63) - _1


@helper
def digit_of(digits, first, window, staging, like):
    """Return digit number `window` of the exponents of the rows from `first`; one exponent may serve all rows."""
    for lane in range(staging.size):
        staging[lane] = U(digits[min(first + lane, digits.shape[0] - 1), window])
    return get(staging, 0, like)


@helper
def pick(out, table, limbs, digit, like):
    """Write the entry of each lane's own digit to `out`, having read all of the table, numbers one after another."""
    for j in range(limbs):
        put(out, j, spread(_0, like))
    for entry in range(ENTRIES):
        mask = opaque(same_mask(digit, spread(U(entry), like)))
        for j in range(limbs):
            put(out, j, get(out, j, like) | get(table, entry * limbs + j, like) & mask)


@helper
def tabulate(x, one, table, n, limbs, columns, lanes, like):
    """Fill a table with the powers 0 to 15 of x."""
    size = limbs * lanes
    table[:size] = one
    table[size : 2 * size] = x
    for entry in range(2, ENTRIES):
        into, half = table[entry * size : (entry + 1) * size], entry // 2
        if entry % 2 == 0:
            square(into, table[half * size : (half + 1) * size], n, columns, like)
        else:
            product(into, table[(entry - 1) * size : entry * size], x, n, columns, like)


@helper
def power_rows(a, digits, one, modulus, out, lanes, like):
    """Raise each row to its own exponent, or all to one: digits of radix 16, most significant first."""
    n, limbs = spread_words(modulus, lanes, like), modulus.size - 1
    x, y, columns = room(1, modulus, lanes, like), room(1, modulus, lanes, like), room(2, modulus, lanes, like)
    table, unit = room(ENTRIES, modulus, lanes, like), spread_words(one[0], lanes, like)
    places, staging = np.empty(lanes, np.int64), scratch(lanes)
    for first in range(0, out.shape[0], lanes):
        in_order(places, first, a.shape[0])
        gather(a, places, x, like)
        tabulate(x, unit, table, n, limbs, columns, lanes, like)
        pick(x, table, limbs, digit_of(digits, first, 0, staging, like), like)
        for window in range(1, digits.shape[1]):
            for _ in range(WINDOW):
                square(x, x, n, columns, like)
            pick(y, table, limbs, digit_of(digits, first, window, staging, like), like)
            product(x, x, y, n, columns, like)
        settled(x, n, limbs, y, like)
        scatter(x, out, first, like)


@helper
def pick_shared(out, table, window, limbs, digit, like):
    """As `pick`, from the entries of a window of a table that all lanes share, (windows, entries, L)."""
    for j in range(limbs):
        put(out, j, spread(_0, like))
    for entry in range(table.shape[1]):
        mask = opaque(same_mask(digit, spread(U(entry), like)))
        for j in range(limbs):
            put(out, j, get(out, j, like) | spread(table[window, entry, j], like) & mask)


@helper
def fixed_power_rows(digits, table, modulus, out, lanes, like):
    """Multiply the entries that the digits of each row name, one a window: no squarings."""
    n, limbs = spread_words(modulus, lanes, like), modulus.size - 1
    x, y, columns = room(1, modulus, lanes, like), room(1, modulus, lanes, like), room(2, modulus, lanes, like)
    staging = scratch(lanes)
    for first in range(0, out.shape[0], lanes):
        pick_shared(x, table, 0, limbs, digit_of(digits, first, 0, staging, like), like)
        for window in range(1, digits.shape[1]):
            pick_shared(y, table, window, limbs, digit_of(digits, first, window, staging, like), like)
            product(x, x, y, n, columns, like)
        settled(x, n, limbs, y, like)
        scatter(x, out, first, like)


@helper
def product_rows(a, offsets, members, one, modulus, out, lanes, like):
    """Multiply the rows that each list names. A lane whose list is over multiplies by the last row of `one`: 1.

    Lists of public lengths: lanes take steps until the longest of theirs is over.
    """
    n, limbs = spread_words(modulus, lanes, like), modulus.size - 1
    x, y, columns = room(1, modulus, lanes, like), room(1, modulus, lanes, like), room(2, modulus, lanes, like)
    unit, places, staging = spread_words(one[0], lanes, like), np.empty(lanes, np.int64), scratch(lanes)
    for first in range(0, out.shape[0], lanes):
        longest = 0
        for i in range(first, min(first + lanes, out.shape[0])):
            longest = max(longest, offsets[i + 1] - offsets[i])
        x[:] = unit
        for step in range(longest):
            for lane in range(lanes):
                i = min(first + lane, offsets.shape[0] - 2)
                inside = offsets[i] + step < offsets[i + 1]
                places[lane] = members[offsets[i] + step] if inside else 0
                staging[lane] = _0 - U(inside)
            gather(a, places, y, like)
            mask = get(staging, 0, like)
            for j in range(limbs):
                idle = get(unit, j, like)
                put(y, j, idle ^ ((idle ^ get(y, j, like)) & mask))
            product(x, x, y, n, columns, like)
        settled(x, n, limbs, y, like)
        scatter(x, out, first, like)
