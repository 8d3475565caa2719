# mypy: allow-untyped-defs, no-check-untyped-defs
"""The kernels of `engine.kernels.points`, one row at a time; the work is in `engine.kernels.affine`."""

from __future__ import annotations

import numpy as np
from numba.core import types

from engine.kernels import affine
from engine.kernels.jit import kernel, prefetch, reads, writes
from engine.kernels.portable import field  # noqa: F401  what rows compute with

U = np.uint64
LANES = 1
_WORDS, _TABLE, _OUT = reads(types.uint64, 2), reads(types.uint64, 3), writes(types.uint64, 2)
_DIGITS, _PLACES, _VALID = reads(types.int8, 1), reads(types.int64, 1), writes(types.boolean, 1)


@kernel(_WORDS, _OUT, _VALID)
def decode(encodings, out, valid):
    affine.decode_rows(encodings, out, valid, LANES, U(0))


@kernel(_WORDS, _OUT)
def encode(points, out):
    affine.encode_rows(points, out, LANES, U(0))


@kernel(_WORDS, _PLACES, _PLACES, _PLACES, _OUT)
def sums(points, members, starts, stops, out):
    affine.sum_rows(points, members, starts, stops, out, LANES, U(0))


@kernel(_WORDS, _TABLE, _WORDS, types.int64, _TABLE, types.uint64, _OUT)
def comb_encode(numbers, table, shifts, digits, base, bits, out):
    affine.comb_encode_rows(numbers, table, shifts, digits, base, bits, out, LANES, U(0))


@kernel(_WORDS, _WORDS, _TABLE, types.uint64, _OUT)
def comb_add(points, numbers, table, bits, out):
    affine.comb_add_rows(points, numbers, table, bits, out, LANES, U(0))


@kernel(_WORDS, _WORDS, _DIGITS, _OUT)
def unmask(masks, points, digits, out):
    affine.unmask_rows(masks, points, digits, out, LANES, U(0))


@kernel(_WORDS, _DIGITS, _OUT)
def times(points, digits, out):
    affine.times_rows(points, digits, out, LANES, U(0))


@kernel(_WORDS, _WORDS, _OUT)
def labels(points, step, out):
    affine.label_rows(points, step, out, LANES, U(0))


# A table of labels: open addressing, places by the low bits of a label, each entry the label's upper bits over one more
# than its number; 0 where there is none.

_NUMBER = U(2**24 - 1)
_0, _1 = U(0), U(1)
_AHEAD = 16


@kernel(reads(types.uint64, 1), types.uint64, writes(types.uint64, 1))
def enter(labels, first, table):
    last = U(table.shape[0] - 1)
    for i in range(labels.shape[0]):
        prefetch(table, labels[min(i + _AHEAD, labels.shape[0] - 1)] & last)
        place = labels[i] & last
        while table[place] != _0:
            place = (place + _1) & last
        table[place] = (labels[i] & ~_NUMBER) | (first + U(i) + _1)


@kernel(reads(types.uint64, 1), reads(types.uint64, 1), writes(types.int64, 1))
def find(labels, table, out):
    last = U(table.shape[0] - 1)
    for i in range(labels.shape[0]):
        prefetch(table, labels[min(i + _AHEAD, labels.shape[0] - 1)] & last)
        place, found = labels[i] & last, np.int64(-1)
        while table[place] != _0 and found < 0:
            if (table[place] ^ labels[i]) & ~_NUMBER == _0:
                found = np.int64(table[place] & _NUMBER) - 1
            place = (place + _1) & last
        out[i] = found
