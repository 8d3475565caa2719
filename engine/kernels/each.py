# mypy: allow-untyped-defs, no-check-untyped-defs
"""Products of elements by a scalar each, where `rows.multiply_rows` has one for all; laid out and bounded as there.

A scalar is four words, 64 signed digits of radix 16, the top one first: shifting brings the next digit to one place in
each lane, so neither an address nor an instruction depends on it.
"""

from __future__ import annotations

import numpy as np

from engine.kernels.edwards import (
    ENTRY,
    TWO,
    _before_addition,
    _double_parts,
    _finished,
    _full,
    _signed_sum,
    doubled_times,
    get_element,
    tabulate,
)
from engine.kernels.field import ONE, ZERO, choose, element, opaque, put, zero_mask
from engine.kernels.jit import helper, inlined, scratch
from engine.kernels.ristretto import STATE, decode_pair, put_state
from engine.kernels.rows import BLOCK, FULL, WINDOWS, encode_block, gather4, scatter_mask, shifted

U = np.uint64
_0, _1, _4, _8, _60, _63 = U(0), U(1), U(4), U(8), U(60), U(63)


@helper
def multiply_each_rows(points, halves, out, valid, lanes, like):
    """Write twice each half, a number below 2**253, times its element; zeros for no element or the identity."""
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
                half = shifted(gather4(halves, row + lanes * (count & 1), staging, like))
                running = put_state(states, STATE * count, multiple_each(half, table, like), running, like)
                put(keep, count, good)
                scatter_mask(valid, row + lanes * (count & 1), good, staging)
                count += 1
        encode_block(states, count, running, first, out, keep, staging, like)


@helper
def multiple_each(words, table, like):
    """Return the points of a table times the numbers of `rows.shifted` words: X, Y, Z, T as wide elements."""
    one, zero = element(ONE, like), element(ZERO, like)
    p = one, one, one, zero
    for _ in range(WINDOWS - 1):
        x, y, z = _finished(_plus_own_digit(p, words[3], table, one, zero, like))
        x, y, z = doubled_times(x, y, z, 3)
        p = _before_addition(_double_parts(x, y, z))
        words = _next_digit(words)
    return _full(_plus_own_digit(p, words[3], table, one, zero, like))


@inlined
def _next_digit(words):
    a, b, c, d = words
    return a << _4, b << _4 | a >> _60, c << _4 | b >> _60, d << _4 | c >> _60


@inlined
def _plus_own_digit(p, word, table, one, zero, like):
    """Return E, F, G, H of p plus the table's multiple by the digit on top of each lane's word."""
    digit = (word >> _60) - _8
    sign = _0 - (digit >> _63)
    entry = _own_entry(table, (digit ^ sign) - sign, one, zero, like)
    return _signed_sum(p, entry, sign)


@helper
def _own_entry(table, size, one, zero, like):
    """Return the cached entry of each lane's own size (1 to 8), or the neutral one for 0, having read all of them."""
    a, b, c, d = one, one, element(TWO, like), zero
    for i in range(8):
        miss = size ^ U(i + 1)
        mask = opaque(((miss | (_0 - miss)) >> _63) - _1)
        a = choose(mask, get_element(table, ENTRY * i, like), a)
        b = choose(mask, get_element(table, ENTRY * i + 5, like), b)
        c = choose(mask, get_element(table, ENTRY * i + 10, like), c)
        d = choose(mask, get_element(table, ENTRY * i + 15, like), d)
    return a, b, c, d
