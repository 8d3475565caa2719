# mypy: allow-untyped-defs, no-check-untyped-defs
"""What the kernels of `engine.kernels.group` do with whole arrays, one row or eight at a time.

`like` is a word of the kind to compute in, `lanes` how many rows it holds: the two arguments in which the tiers differ.
Arrays are uint64 words of little-endian bytes: (n, 4) elements and scalars, (n, 8) uniform rows. The last step repeats
the last row in the lanes that are left over. n is at least 1.
"""

from __future__ import annotations

import numpy as np

from engine.kernels import edwards
from engine.kernels.edwards import ENTRY, multiple, tabulate
from engine.kernels.field import (
    ONE,
    ZERO,
    carry,
    choose,
    element,
    get,
    inverse,
    minus,
    opaque,
    plus,
    product,
    put,
    spread,
    unpack,
    zero_mask,
)
from engine.kernels.jit import helper, inlined, scratch
from engine.kernels.ristretto import STATE, decode_pair, encode, encode_state, one_way, put_state

U = np.uint64
_0, _1, _4, _8, _15, _60, _63, FULL = U(0), U(1), U(4), U(8), U(15), U(60), U(63), U(2**64 - 1)
BLOCK = 64
WINDOWS = 64


@helper
def gather(words, row, column, staging, like):
    for lane in range(staging.shape[0]):
        staging[lane] = words[min(row + lane, words.shape[0] - 1), column]
    return get(staging, 0, like)


@helper
def gather4(words, row, staging, like):
    return (
        gather(words, row, 0, staging, like),
        gather(words, row, 1, staging, like),
        gather(words, row, 2, staging, like),
        gather(words, row, 3, staging, like),
    )


@helper
def scatter4(words, row, values, mask, staging):
    """Write four words a row, zeros where the mask is not set."""
    for column in range(4):
        put(staging, 0, values[column] & mask)
        for lane in range(min(staging.shape[0], words.shape[0] - row)):
            words[row + lane, column] = staging[lane]


@helper
def scatter_mask(flags, row, mask, staging):
    put(staging, 0, mask)
    for lane in range(min(staging.shape[0], flags.shape[0] - row)):
        flags[row + lane] = staging[lane] != _0


@helper
def encode_block(states, count, running, first, out, keep, staging, like):
    """Encode the doubles of a block of states to the rows from `first`, zeros where `keep` has no mask."""
    lanes = staging.shape[0]
    inverted = inverse(running)
    for i in range(count - 1, -1, -1):
        words, inverted = encode_state(states, STATE * i, inverted, like)
        scatter4(out, first + lanes * i, words, get(keep, i, like), staging)


@helper
def map_rows(uniform, out, lanes, like):
    staging = scratch(lanes)
    for row in range(0, uniform.shape[0], lanes):
        scatter4(out, row, encode(derived(uniform, row, staging, like), like), spread(FULL, like), staging)


@helper
def derived(uniform, row, staging, like):
    return one_way(
        (
            gather(uniform, row, 0, staging, like),
            gather(uniform, row, 1, staging, like),
            gather(uniform, row, 2, staging, like),
            gather(uniform, row, 3, staging, like),
            gather(uniform, row, 4, staging, like),
            gather(uniform, row, 5, staging, like),
            gather(uniform, row, 6, staging, like),
            gather(uniform, row, 7, staging, like),
        ),
        like,
    )


@helper
def map_multiply_rows(uniform, digits, out, lanes, like):
    staging, table = scratch(lanes), scratch(8 * ENTRY * lanes)
    states, keep = scratch(BLOCK * STATE * lanes), scratch(BLOCK * lanes)
    for first in range(0, uniform.shape[0], BLOCK * lanes):
        running, count = element(ONE, like), 0
        for row in range(first, min(first + BLOCK * lanes, uniform.shape[0]), lanes):
            tabulate(derived(uniform, row, staging, like), table, like)
            running = put_state(states, STATE * count, multiple(digits, table, like), running, like)
            put(keep, count, spread(FULL, like))
            count += 1
        encode_block(states, count, running, first, out, keep, staging, like)


@helper
def multiply_rows(points, digits, out, valid, lanes, like):
    staging, table = scratch(lanes), scratch(8 * ENTRY * lanes)
    states, keep = scratch(BLOCK * STATE * lanes), scratch(BLOCK * lanes)
    for first in range(0, points.shape[0], BLOCK * lanes):
        running, count = element(ONE, like), 0
        for row in range(first, min(first + BLOCK * lanes, points.shape[0]), 2 * lanes):
            v, w = gather4(points, row, staging, like), gather4(points, row + lanes, staging, like)
            ok_v, p, ok_w, q = decode_pair(v, w, like)
            for word, ok, point in ((v, ok_v, p), (w, ok_w, q)):
                good = ok & (zero_mask(word) ^ FULL)
                tabulate(point, table, like)
                running = put_state(states, STATE * count, multiple(digits, table, like), running, like)
                put(keep, count, good)
                scatter_mask(valid, row + lanes * (count & 1), good, staging)
                count += 1
        encode_block(states, count, running, first, out, keep, staging, like)


@helper
def check_rows(points, valid, lanes, like):
    staging = scratch(lanes)
    for row in range(0, points.shape[0], 2 * lanes):
        v, w = gather4(points, row, staging, like), gather4(points, row + lanes, staging, like)
        ok_v, _, ok_w, _ = decode_pair(v, w, like)
        scatter_mask(valid, row, ok_v, staging)
        scatter_mask(valid, row + lanes, ok_w, staging)


@helper
def add_rows(a, b, out, valid, lanes, like):
    staging = scratch(lanes)
    for row in range(0, a.shape[0], lanes):
        ok_p, p, ok_q, q = decode_pair(gather4(a, row, staging, like), gather4(b, row, staging, like), like)
        scatter4(out, row, encode(edwards.add(p, q, like), like), ok_p & ok_q, staging)
        scatter_mask(valid, row, ok_p & ok_q, staging)


@helper
def gather_listed(points, offsets, first, step, column, staging, like):
    """Return a word of row number `step` of each of the lists from `first`, of any row where a list is shorter."""
    for lane in range(staging.shape[0]):
        start = offsets[min(first + lane, offsets.shape[0] - 2)]
        staging[lane] = points[min(start + step, points.shape[0] - 1), column]
    return get(staging, 0, like)


@helper
def listed(points, offsets, first, step, staging, like):
    """Return four words of row number `step` of each list, and the mask of the list being that long."""
    words = (
        gather_listed(points, offsets, first, step, 0, staging, like),
        gather_listed(points, offsets, first, step, 1, staging, like),
        gather_listed(points, offsets, first, step, 2, staging, like),
        gather_listed(points, offsets, first, step, 3, staging, like),
    )
    for lane in range(staging.shape[0]):
        i = min(first + lane, offsets.shape[0] - 2)
        staging[lane] = FULL if offsets[i] + step < offsets[i + 1] else _0
    return words, get(staging, 0, like)


@helper
def sum_rows(points, offsets, out, valid, lanes, like):
    staging = scratch(lanes)
    for first in range(0, out.shape[0], lanes):
        longest = 0
        for i in range(first, min(first + lanes, out.shape[0])):
            longest = max(longest, offsets[i + 1] - offsets[i])
        one, zero = element(ONE, like), element(ZERO, like)
        total, good = (zero, one, one, zero), spread(FULL, like)
        for step in range(0, longest, 2):
            v, in_v = listed(points, offsets, first, step, staging, like)
            w, in_w = listed(points, offsets, first, step + 1, staging, like)
            ok_v, p, ok_w, q = decode_pair(v, w, like)
            good = good & (ok_v | in_v ^ FULL) & (ok_w | in_w ^ FULL)
            for inside, point in ((in_v, p), (in_w, q)):
                x, y = choose(inside, point[0], zero), choose(inside, point[1], one)
                total = edwards.add(total, (x, y, one, choose(inside, point[3], zero)), like)
        scatter4(out, first, encode(total, like), good, staging)
        scatter_mask(valid, first, good, staging)


@helper
def multiply_base_rows(scalars, table, out, lanes, like):
    """Add up table entries: one for each digit, no doublings.

    `table` is uint64 of shape (64, 8, 12): for window i and size j + 1 the affine y + x, y - x and 2dxy of
    (j + 1) * 16**i times half the generator, four words each. Digits are in [-8, 8).
    """
    staging = scratch(lanes)
    states, keep = scratch(BLOCK * STATE * lanes), scratch(BLOCK * lanes)
    for first in range(0, scalars.shape[0], BLOCK * lanes):
        running, count = element(ONE, like), 0
        for row in range(first, min(first + BLOCK * lanes, scalars.shape[0]), lanes):
            point = base_multiple(shifted(gather4(scalars, row, staging, like)), table, like)
            running = put_state(states, STATE * count, point, running, like)
            put(keep, count, spread(FULL, like))
            count += 1
        encode_block(states, count, running, first, out, keep, staging, like)


@helper
def shifted(words):
    """Add 8 to each radix-16 digit of numbers below 2**253, so that each digit less 8 is the signed one."""
    eights = U(0x8888888888888888)
    a = words[0] + eights
    carry_a = ((words[0] & eights) | ((words[0] | eights) & (a ^ FULL))) >> _63
    b = words[1] + eights + carry_a
    carry_b = ((words[1] & eights) | ((words[1] | eights) & (b ^ FULL))) >> _63
    c = words[2] + eights + carry_b
    carry_c = ((words[2] & eights) | ((words[2] | eights) & (c ^ FULL))) >> _63
    return a, b, c, words[3] + eights + carry_c


@inlined
def after_digit(words):
    """Shift a number of four words down by a radix-16 digit; no word is picked by number, which would take a branch."""
    a, b, c, d = words
    return a >> _4 | b << _60, b >> _4 | c << _60, c >> _4 | d << _60, d >> _4


@helper
def base_multiple(words, table, like):
    one, zero = element(ONE, like), element(ZERO, like)
    x, y, z, t = zero, one, one, zero
    for i in range(WINDOWS):
        digit = (words[0] & _15) - _8
        words = after_digit(words)
        sign = _0 - (digit >> _63)
        y_plus_x, y_minus_x, twice_dxy = base_entry(table, i, (digit ^ sign) - sign, like)
        a = product(carry(minus(y, x)), choose(sign, y_plus_x, y_minus_x))
        b = product(carry(plus(y, x)), choose(sign, y_minus_x, y_plus_x))
        c, d = product(carry(t), twice_dxy), plus(z, z)
        down, up = carry(minus(d, c)), carry(plus(d, c))
        e, f, g, h = carry(minus(b, a)), choose(sign, up, down), choose(sign, down, up), carry(plus(b, a))
        x, y, z, t = product(e, f), product(g, h), product(f, g), product(e, h)
    return x, y, z, t


@helper
def base_entry(table, i, size, like):
    """Return the entry of each lane's own size (1 to 8; the identity for 0), having read all of them."""
    one = spread(_1, like)
    zero = spread(_0, like)
    a0, a1, a2, a3 = one, zero, zero, zero
    b0, b1, b2, b3 = one, zero, zero, zero
    c0, c1, c2, c3 = zero, zero, zero, zero
    for j in range(8):
        miss = size ^ U(j + 1)
        mask = opaque(((miss | (_0 - miss)) >> _63) - _1)
        entry = table[i, j]
        a0, a1 = a0 ^ ((a0 ^ entry[0]) & mask), a1 ^ ((a1 ^ entry[1]) & mask)
        a2, a3 = a2 ^ ((a2 ^ entry[2]) & mask), a3 ^ ((a3 ^ entry[3]) & mask)
        b0, b1 = b0 ^ ((b0 ^ entry[4]) & mask), b1 ^ ((b1 ^ entry[5]) & mask)
        b2, b3 = b2 ^ ((b2 ^ entry[6]) & mask), b3 ^ ((b3 ^ entry[7]) & mask)
        c0, c1 = c0 ^ ((c0 ^ entry[8]) & mask), c1 ^ ((c1 ^ entry[9]) & mask)
        c2, c3 = c2 ^ ((c2 ^ entry[10]) & mask), c3 ^ ((c3 ^ entry[11]) & mask)
    return unpack(a0, a1, a2, a3), unpack(b0, b1, b2, b3), unpack(c0, c1, c2, c3)
