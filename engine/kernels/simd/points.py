# mypy: allow-untyped-defs, no-check-untyped-defs
"""The kernels of `engine.kernels.points`, eight rows at a time; the work is in `engine.kernels.affine`."""

from __future__ import annotations

import numpy as np
from numba.core import types

from engine.kernels import affine
from engine.kernels.jit import kernel, reads, writes
from engine.kernels.simd import field  # noqa: F401  what rows compute with
from engine.kernels.simd.vector import broadcast

U = np.uint64
LANES = 8
_WORDS, _TABLE, _OUT = reads(types.uint64, 2), reads(types.uint64, 3), writes(types.uint64, 2)
_DIGITS, _PLACES, _VALID = reads(types.int8, 1), reads(types.int64, 1), writes(types.boolean, 1)


@kernel(_WORDS, _OUT, _VALID)
def decode(encodings, out, valid):
    affine.decode_rows(encodings, out, valid, LANES, broadcast(U(0)))


@kernel(_WORDS, _OUT)
def encode(points, out):
    affine.encode_rows(points, out, LANES, broadcast(U(0)))


@kernel(_WORDS, _PLACES, _PLACES, _PLACES, _OUT)
def sums(points, members, starts, stops, out):
    affine.sum_rows(points, members, starts, stops, out, LANES, broadcast(U(0)))


@kernel(_WORDS, _TABLE, _WORDS, types.int64, _TABLE, types.uint64, _OUT)
def comb_encode(numbers, table, shifts, digits, base, bits, out):
    affine.comb_encode_rows(numbers, table, shifts, digits, base, bits, out, LANES, broadcast(U(0)))


@kernel(_WORDS, _WORDS, _TABLE, types.uint64, _OUT)
def comb_add(points, numbers, table, bits, out):
    affine.comb_add_rows(points, numbers, table, bits, out, LANES, broadcast(U(0)))


@kernel(_WORDS, _WORDS, _DIGITS, _OUT)
def unmask(masks, points, digits, out):
    affine.unmask_rows(masks, points, digits, out, LANES, broadcast(U(0)))


@kernel(_WORDS, _DIGITS, _OUT)
def times(points, digits, out):
    affine.times_rows(points, digits, out, LANES, broadcast(U(0)))


@kernel(_WORDS, _WORDS, _OUT)
def labels(points, step, out):
    affine.label_rows(points, step, out, LANES, broadcast(U(0)))
