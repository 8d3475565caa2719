# mypy: allow-untyped-defs, no-check-untyped-defs
"""The kernels of `engine.kernels.group`, one row at a time; the work is in `engine.kernels.rows`."""

from __future__ import annotations

import numpy as np
from numba.core import types

from engine.kernels import each, rows
from engine.kernels.jit import kernel, reads, writes
from engine.kernels.portable import field  # noqa: F401  what rows compute with

U = np.uint64
LANES = 1
_WORDS, _OUT = reads(types.uint64, 2), writes(types.uint64, 2)
_DIGITS, _OFFSETS, _VALID = reads(types.int8, 1), reads(types.int64, 1), writes(types.boolean, 1)


@kernel(_WORDS, _OUT)
def map(uniform, out):
    rows.map_rows(uniform, out, LANES, U(0))


@kernel(_WORDS, _DIGITS, _OUT)
def map_multiply(uniform, digits, out):
    rows.map_multiply_rows(uniform, digits, out, LANES, U(0))


@kernel(_WORDS, _DIGITS, _OUT, _VALID)
def multiply(points, digits, out, valid):
    rows.multiply_rows(points, digits, out, valid, LANES, U(0))


@kernel(_WORDS, _WORDS, _OUT, _VALID)
def multiply_each(points, halves, out, valid):
    each.multiply_each_rows(points, halves, out, valid, LANES, U(0))


@kernel(_WORDS, reads(types.uint64, 3), _OUT)
def multiply_base(scalars, table, out):
    rows.multiply_base_rows(scalars, table, out, LANES, U(0))


@kernel(_WORDS, _VALID)
def check(points, valid):
    rows.check_rows(points, valid, LANES, U(0))


@kernel(_WORDS, _WORDS, _OUT, _VALID)
def add(a, b, out, valid):
    rows.add_rows(a, b, out, valid, LANES, U(0))


@kernel(_WORDS, _OFFSETS, _OUT, _VALID)
def sums(points, offsets, out, valid):
    rows.sum_rows(points, offsets, out, valid, LANES, U(0))
