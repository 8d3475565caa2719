# mypy: allow-untyped-defs, no-check-untyped-defs
"""What the kernels of `engine.kernels.points` do with whole arrays, one row or eight at a time.

A point is kept as an affine row: y + x, y - x and 2dxy, four words each, canonical, so that adding it to another takes
seven products. Many points share one inversion on their way into that form (Montgomery's trick). Such a row is the
point itself, not its coset in ristretto255: it never leaves this process. `like` and `lanes` as in `rows.py`.
"""

from __future__ import annotations

import numpy as np

from engine.kernels import constants
from engine.kernels.edwards import (
    ENTRY,
    TWICE_D,
    TWO,
    doubled_times,
    get_element,
    multiple,
    put_element,
    tabulate,
)
from engine.kernels.field import (
    ONE,
    ZERO,
    carry,
    choose,
    element,
    get,
    get_rows,
    inverse,
    minus,
    multiply,
    pack,
    plus,
    product,
    put,
    spread,
    unpack,
    words_of,
)
from engine.kernels.jit import helper, inlined, prefetch, scratch
from engine.kernels.ristretto import STATE, decode_pair, encode_pair, put_state
from engine.kernels.rows import encode_block, gather4, scatter4, scatter_mask

U = np.uint64
ROW = 12
_0, _1, _4, _8, _12, _24, _63, FULL = U(0), U(1), U(4), U(8), U(12), U(24), U(63), U(2**64 - 1)
ONE_OVER_D = words_of(pow(constants.D, -1, constants.P))
ONE_OVER_4D = words_of(pow(4 * constants.D, -1, constants.P))
BLOCK = 64
AHEAD = 4
CHUNK = 256
PROJECTIVE = 20


@helper
def row_words(words, places, like):
    """Return the twelve words of each lane's own row as three times four."""
    return get_rows(words, places, _0, like), get_rows(words, places, _4, like), get_rows(words, places, _8, like)


@inlined
def elements_of(row):
    """Return y + x, y - x and 2dxy, both operand and wide."""
    a, b, c = row
    return unpack(a[0], a[1], a[2], a[3]), unpack(b[0], b[1], b[2], b[3]), unpack(c[0], c[1], c[2], c[3])


@inlined
def sum_parts(p, row):
    """Return E, F, G, H, operands, of X, Y, Z, T, wide elements, plus an affine row."""
    x, y, z, t = p
    y_plus_x, y_minus_x, twice_dxy = row
    a, b = product(carry(minus(y, x)), y_minus_x), product(carry(plus(y, x)), y_plus_x)
    c, d = product(carry(t), twice_dxy), plus(z, z)
    return carry(minus(b, a)), carry(minus(d, c)), carry(plus(d, c)), carry(plus(b, a))


@inlined
def finished(parts):
    """Return X, Y, Z, T, wide elements."""
    e, f, g, h = parts
    return product(e, f), product(g, h), product(f, g), product(e, h)


@inlined
def plus_row(p, row):
    """Add an affine row to X, Y, Z, T, wide elements; wide elements."""
    return finished(sum_parts(p, row))


@inlined
def lifted(row, like):
    """Return the point of an affine row as X, Y, Z, T, wide elements: twice x and y over Z = 2."""
    y_plus_x, y_minus_x, twice_dxy = row
    one = element(ONE, like)
    x, y = product(carry(minus(y_plus_x, y_minus_x)), one), product(carry(plus(y_plus_x, y_minus_x)), one)
    return x, y, element(TWO, like), product(twice_dxy, element(ONE_OVER_D, like))


@inlined
def neutral(like):
    one, zero = element(ONE, like), element(ZERO, like)
    return zero, one, one, zero


@inlined
def put_projective(states, count, x, y, z, running):
    """Write operands X, Y, Z of a point that is to become affine; return the running product of all Z."""
    index = PROJECTIVE * count
    put_element(states, index, x)
    put_element(states, index + 5, y)
    put_element(states, index + 10, z)
    put_element(states, index + 15, running)
    return multiply(running, z)


@helper
def affine_block(states, count, running, first, out, staging, like):
    """Write a block of points as affine rows from row `first`."""
    inverted, lanes = inverse(running), staging.shape[0]
    for i in range(count - 1, -1, -1):
        index = PROJECTIVE * i
        z_inv = multiply(inverted, get_element(states, index + 15, like))
        inverted = multiply(inverted, get_element(states, index + 10, like))
        x = product(get_element(states, index, like), z_inv)
        y = product(get_element(states, index + 5, like), z_inv)
        scatter_row(out, first + lanes * i, x, y, staging, like)


@helper
def scatter_row(out, row, x, y, staging, like):
    """Write affine rows of wide x and y."""
    twice_dxy = product(multiply(carry(x), carry(y)), element(TWICE_D, like))
    scatter_quad(out, row, 0, pack(plus(y, x)), staging)
    scatter_quad(out, row, 4, pack(minus(y, x)), staging)
    scatter_quad(out, row, 8, pack(twice_dxy), staging)


@helper
def scatter_quad(out, row, column, values, staging):
    for i in range(4):
        put(staging, 0, values[i])
        for lane in range(min(staging.shape[0], out.shape[0] - row)):
            out[row + lane, column + i] = staging[lane]


@helper
def consecutive(places, row, count, width):
    """Fill the positions of rows from number `row` on; lanes that are left over repeat the last of `count` rows."""
    for lane in range(places.shape[0]):
        places[lane] = U(width * min(row + lane, count - 1))


@helper
def numbers_from(flat, row, count, places, like):
    """Return the four words of each lane's own number."""
    consecutive(places, row, count, 4)
    return get_rows(flat, places, _0, like)


@helper
def decode_rows(encodings, out, valid, lanes, like):
    """Decode elements to affine rows, garbage where invalid."""
    staging = scratch(lanes)
    for row in range(0, encodings.shape[0], 2 * lanes):
        v, w = gather4(encodings, row, staging, like), gather4(encodings, row + lanes, staging, like)
        ok_v, p, ok_w, q = decode_pair(v, w, like)
        one = element(ONE, like)
        scatter_row(out, row, product(carry(p[0]), one), p[1], staging, like)
        scatter_mask(valid, row, ok_v, staging)
        scatter_row(out, row + lanes, product(carry(q[0]), one), q[1], staging, like)
        scatter_mask(valid, row + lanes, ok_w, staging)


@helper
def encode_rows(points, out, lanes, like):
    staging, places, flat = scratch(lanes), scratch(lanes), points.reshape(points.size)
    full = spread(FULL, like)
    for row in range(0, points.shape[0], 2 * lanes):
        consecutive(places, row, points.shape[0], ROW)
        p = lifted(elements_of(row_words(flat, places, like)), like)
        consecutive(places, row + lanes, points.shape[0], ROW)
        q = lifted(elements_of(row_words(flat, places, like)), like)
        p_words, q_words = encode_pair(p, q, like)
        scatter4(out, row, p_words, full, staging)
        scatter4(out, row + lanes, q_words, full, staging)


# Sums by list. Each lane has a list of its own. Rows come from anywhere in memory, so they are asked for AHEAD steps
# before they are needed, two lines of a row after each product: all at once they would keep the core waiting.


@helper
def sum_rows(points, members, starts, stops, out, lanes, like):
    """Write the sums of the rows that each list names: members[starts[i]:stops[i]] are those of list i."""
    staging, places, flat = scratch(lanes), scratch((CHUNK + AHEAD) * lanes), points.reshape(points.size)
    states = scratch(BLOCK * PROJECTIVE * lanes)
    for start in range(0, out.shape[0], BLOCK * lanes):
        running, count = element(ONE, like), 0
        for first in range(start, min(start + BLOCK * lanes, out.shape[0]), lanes):
            x, y, z, _ = listed_sum(flat, members, starts, stops, first, places, staging, like)
            running = put_projective(states, count, carry(x), carry(y), carry(z), running)
            count += 1
        affine_block(states, count, running, start, out, staging, like)


@helper
def listed_sum(flat, members, starts, stops, first, places, staging, like):
    """Return the sums of the lists from number `first`, one a lane: X, Y, Z, T as wide elements."""
    lanes, last = staging.shape[0], starts.shape[0] - 1
    shortest, longest = members.shape[0], 0
    for lane in range(lanes):
        i = min(first + lane, last)
        length = stops[i] - starts[i]
        shortest, longest = min(shortest, length), max(longest, length)
    total = neutral(like)
    for step in range(0, shortest, CHUNK):
        count = min(CHUNK, shortest - step)
        for lane in range(lanes):
            position = starts[min(first + lane, last)] + step
            left = members.shape[0] - position
            for i in range(min(count + AHEAD, left)):
                places[lanes * i + lane] = U(ROW * members[position + i])
            for i in range(left, count + AHEAD):
                places[lanes * i + lane] = _0
        for i in range(count):
            row = row_words(flat, places[lanes * i :], like)
            total = plus_row_fetching(total, elements_of(row), flat, places, lanes * (i + AHEAD), lanes)
    for step in range(shortest, longest):
        for lane in range(lanes):
            i = min(first + lane, last)
            inside = starts[i] + step < stops[i]
            places[lane] = U(ROW * members[starts[i] + step]) if inside else _0
            staging[lane] = FULL if inside else _0
        row = kept(row_words(flat, places, like), get(staging, 0, like))
        total = plus_row(total, elements_of(row))
    return total


@inlined
def plus_row_fetching(p, row, flat, places, at, lanes):
    """Add an affine row as `plus_row` does, and have the rows fetched whose positions are `places` from `at` on."""
    x, y, z, t = p
    y_plus_x, y_minus_x, twice_dxy = row
    a = product(carry(minus(y, x)), y_minus_x)
    fetch(flat, places, at, 0, lanes)
    b = product(carry(plus(y, x)), y_plus_x)
    fetch(flat, places, at, 1, lanes)
    c, d = product(carry(t), twice_dxy), plus(z, z)
    fetch(flat, places, at, 2, lanes)
    e, f, g, h = carry(minus(b, a)), carry(minus(d, c)), carry(plus(d, c)), carry(plus(b, a))
    fetch(flat, places, at, 3, lanes)
    x = product(e, f)
    fetch(flat, places, at, 4, lanes)
    y = product(g, h)
    fetch(flat, places, at, 5, lanes)
    z = product(f, g)
    fetch(flat, places, at, 6, lanes)
    t = product(e, h)
    fetch(flat, places, at, 7, lanes)
    return x, y, z, t


@inlined
def fetch(flat, places, at, part, lanes):
    """Have an eighth of the lanes' rows fetched; a row lies in two cache lines."""
    for lane in range(part * lanes // 8, (part + 1) * lanes // 8):
        prefetch(flat, places[at + lane])
        prefetch(flat, places[at + lane] + U(ROW - 1))


@inlined
def kept(row, mask):
    """Return the rows where the mask is set, elsewhere the one of the identity: 1, 1, 0."""
    a, b, c = row
    one = _1 & (mask ^ FULL)
    return (
        ((a[0] & mask) | one, a[1] & mask, a[2] & mask, a[3] & mask),
        ((b[0] & mask) | one, b[1] & mask, b[2] & mask, b[3] & mask),
        (c[0] & mask, c[1] & mask, c[2] & mask, c[3] & mask),
    )


# Combs: multiples of fixed points by table. The table (windows, 2**(bits - 1) + 1, 12) holds in window i the affine
# rows of 0, 1, 2 ... times 2**(bits * i) times the point. A number's digits, `bits` bits each, less half are what is
# looked up. Which row is read shows in the addresses.


@helper
def comb(p, words, windows, bits, table, places, like):
    """Add a table's point times the signed digits of `words` to a point; X, Y, Z, T as wide elements."""
    half, mask, size = U(1) << (bits - _1), (_1 << bits) - _1, U(table.shape[1])
    flat = table.reshape(table.size)
    sign = look_ahead(words, _0, half, mask, flat, places, like)
    for i in range(windows):
        row = row_words(flat, places, like)
        negative = sign
        words = after_digit(words, bits)
        sign = look_ahead(words, U(i + 1) * size, half, mask, flat, places, like)
        p = plus_signed_row(p, row, negative)
    return p


@inlined
def look_ahead(words, base, half, mask, flat, places, like):
    """Find the rows for the lowest digits and have them fetched; return the mask of the digit being negative."""
    digit = (words[0] & mask) - half
    sign = _0 - (digit >> _63)
    row = ((digit ^ sign) - sign) + base
    put(places, 0, (row << U(3)) + (row << U(2)))
    for lane in range(places.shape[0]):
        prefetch(flat, places[lane])
        prefetch(flat, places[lane] + U(ROW - 1))
    return sign


@inlined
def after_digit(words, bits):
    a, b, c, d = words
    up = U(64) - bits
    return a >> bits | b << up, b >> bits | c << up, c >> bits | d << up, d >> bits


@inlined
def plus_signed_row(p, row, negative):
    """Add a row, or subtract it where the mask is set: y + x and y - x change places, and so do F and G."""
    x, y, z, t = p
    y_plus_x, y_minus_x, twice_dxy = elements_of(row)
    a = product(carry(minus(y, x)), choose(negative, y_plus_x, y_minus_x))
    b = product(carry(plus(y, x)), choose(negative, y_minus_x, y_plus_x))
    c, d = product(carry(t), twice_dxy), plus(z, z)
    down, up = carry(minus(d, c)), carry(plus(d, c))
    e, f, g, h = carry(minus(b, a)), choose(negative, up, down), choose(negative, down, up), carry(plus(b, a))
    return product(e, f), product(g, h), product(f, g), product(e, h)


@helper
def comb_encode_rows(numbers, table, shifts, digits, base, bits, out, lanes, like):
    """Write the encodings of twice what two combs give: of `numbers` by one table, of `shifts` by the other."""
    staging, places = scratch(lanes), scratch(lanes)
    flat, flat_shifts = numbers.reshape(numbers.size), shifts.reshape(shifts.size)
    states, keep = scratch(BLOCK * STATE * lanes), scratch(BLOCK * lanes)
    for first in range(0, numbers.shape[0], BLOCK * lanes):
        running, count = element(ONE, like), 0
        for row in range(first, min(first + BLOCK * lanes, numbers.shape[0]), lanes):
            words = numbers_from(flat, row, numbers.shape[0], places, like)
            point = comb(neutral(like), words, table.shape[0], bits, table, places, like)
            words = numbers_from(flat_shifts, row, numbers.shape[0], places, like)
            point = comb(point, words, digits, bits, base, places, like)
            running = put_state(states, STATE * count, point, running, like)
            put(keep, count, spread(FULL, like))
            count += 1
        encode_block(states, count, running, first, out, keep, staging, like)


@helper
def comb_add_rows(points, numbers, table, bits, out, lanes, like):
    """Write each row plus what the comb gives for its number, as affine rows."""
    staging, places, flat = scratch(lanes), scratch(lanes), points.reshape(points.size)
    flat_numbers, states = numbers.reshape(numbers.size), scratch(BLOCK * PROJECTIVE * lanes)
    for first in range(0, numbers.shape[0], BLOCK * lanes):
        running, count = element(ONE, like), 0
        for row in range(first, min(first + BLOCK * lanes, numbers.shape[0]), lanes):
            consecutive(places, row, points.shape[0], ROW)
            point = lifted(elements_of(row_words(flat, places, like)), like)
            words = numbers_from(flat_numbers, row, numbers.shape[0], places, like)
            x, y, z, _ = comb(point, words, table.shape[0], bits, table, places, like)
            running = put_projective(states, count, carry(x), carry(y), carry(z), running)
            count += 1
        affine_block(states, count, running, first, out, staging, like)


@helper
def unmask_rows(masks, points, digits, out, lanes, like):
    """Write four times (a mask times the number that the digits spell, plus a point): free of torsion."""
    staging, places, table = scratch(lanes), scratch(lanes), scratch(8 * ENTRY * lanes)
    states = scratch(BLOCK * PROJECTIVE * lanes)
    flat_masks, flat = masks.reshape(masks.size), points.reshape(points.size)
    for first in range(0, points.shape[0], BLOCK * lanes):
        running, count = element(ONE, like), 0
        for row in range(first, min(first + BLOCK * lanes, points.shape[0]), lanes):
            consecutive(places, row, points.shape[0], ROW)
            tabulate(lifted(elements_of(row_words(flat_masks, places, like)), like), table, like)
            product_ = multiple(digits, table, like)
            x, y, z, _ = plus_row(product_, elements_of(row_words(flat, places, like)))
            x, y, z = doubled_times(carry(x), carry(y), carry(z), 2)
            running = put_projective(states, count, x, y, z, running)
            count += 1
        affine_block(states, count, running, first, out, staging, like)


@helper
def times_rows(points, digits, out, lanes, like):
    """Write the number that the digits spell times each row."""
    staging, places, table = scratch(lanes), scratch(lanes), scratch(8 * ENTRY * lanes)
    states, flat = scratch(BLOCK * PROJECTIVE * lanes), points.reshape(points.size)
    for first in range(0, points.shape[0], BLOCK * lanes):
        running, count = element(ONE, like), 0
        for row in range(first, min(first + BLOCK * lanes, points.shape[0]), lanes):
            consecutive(places, row, points.shape[0], ROW)
            tabulate(lifted(elements_of(row_words(flat, places, like)), like), table, like)
            x, y, z, _ = multiple(digits, table, like)
            running = put_projective(states, count, carry(x), carry(y), carry(z), running)
            count += 1
        affine_block(states, count, running, first, out, staging, like)


# Logarithms. A point and its opposite have the same y, so one look-up by y serves two candidates; and y of p + q and of
# p - q come from the same products: with k = d x1 x2 y1 y2 they are (y1 y2 + x1 x2)/(1 - k), (y1 y2 - x1 x2)/(1 + k).

_PAIR = 20


@helper
def label_rows(points, step, out, lanes, like):
    """Write the lowest words of twice y of each point plus `step`, and less it."""
    staging, places, flat = scratch(lanes), scratch(lanes), points.reshape(points.size)
    states, zero = scratch(BLOCK * _PAIR * lanes), scratch(lanes)
    for lane in range(lanes):
        zero[lane] = _0
    a2, b2, c2 = elements_of(row_words(step.reshape(step.size), zero, like))
    c2 = multiply(c2, element(ONE_OVER_4D, like))
    one = element(ONE, like)
    for first in range(0, points.shape[0], BLOCK * lanes):
        running, count = one, 0
        for row in range(first, min(first + BLOCK * lanes, points.shape[0]), lanes):
            consecutive(places, row, points.shape[0], ROW)
            a1, b1, c1 = elements_of(row_words(flat, places, like))
            k = product(c1, c2)
            low, high = carry(minus(one, k)), carry(plus(one, k))
            both = multiply(low, high)
            index = _PAIR * count
            # y of the sum is over 1 - k; with the inverse of (1 - k)(1 + k) at hand that is times 1 + k.
            put_element(states, index, multiply(carry(plus(product(a1, a2), product(b1, b2))), high))
            put_element(states, index + 5, multiply(carry(plus(product(a1, b2), product(b1, a2))), low))
            put_element(states, index + 10, both)
            put_element(states, index + 15, running)
            running = multiply(running, both)
            count += 1
        inverted = inverse(running)
        for i in range(count - 1, -1, -1):
            index = _PAIR * i
            own = multiply(inverted, get_element(states, index + 15, like))
            inverted = multiply(inverted, get_element(states, index + 10, like))
            above = pack(product(get_element(states, index, like), own))[0]
            below = pack(product(get_element(states, index + 5, like), own))[0]
            scatter_word(out, first + lanes * i, 0, above, staging)
            scatter_word(out, first + lanes * i, 1, below, staging)


@helper
def scatter_word(out, row, column, value, staging):
    put(staging, 0, value)
    for lane in range(min(staging.shape[0], out.shape[0] - row)):
        out[row + lane, column] = staging[lane]
