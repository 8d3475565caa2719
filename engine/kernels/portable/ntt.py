# mypy: allow-untyped-defs, no-check-untyped-defs
"""Transforms modulo x**N + 1 in scalar Numba; `engine.kernels.reference.ntt` is the definition. Primes below 2**50."""

from __future__ import annotations

import numpy as np
from numba.core import types

from engine.kernels.jit import helper, kernel, multiply_high, reads, writes
from engine.kernels.portable.ring import remainder, times, wrapped

U = np.uint64
_TABLE, _VALUES = reads(types.uint64, 2), writes(types.uint64, 2)


@helper
def permute(row):
    """Transpose each 64 values as a square of eight by eight."""
    for start in range(0, row.size, 64):
        for i in range(8):
            for j in range(i):
                a, b = start + 8 * i + j, start + 8 * j + i
                row[a], row[b] = row[b], row[a]


@kernel(_TABLE, types.uint64, _VALUES)
def forward(table, p, values):
    """Keep numbers below p; a difference below 0 wraps and is then larger than itself plus p."""
    size = values.shape[1]
    for r in range(values.shape[0]):
        m, half = 1, size // 2
        while m < size:
            for i in range(m):
                w, quotient = table[0, m + i], table[1, m + i]
                for j in range(2 * i * half, (2 * i + 1) * half):
                    x, y = values[r, j], times(values[r, j + half], w, quotient, p)
                    total, difference = x + y, x - y
                    values[r, j], values[r, j + half] = min(total, total - p), min(difference, difference + p)
            m, half = 2 * m, half // 2
        permute(values[r])


@kernel(_TABLE, types.uint64, _VALUES)
def inverse(table, p, values):
    """Take the steps of `forward` back to front, each without its factor 2, and divide by them all at the end."""
    size = values.shape[1]
    for r in range(values.shape[0]):
        permute(values[r])
        m, half = size // 2, 1
        while m:
            for i in range(m):
                w, quotient = table[4, m + i], table[5, m + i]
                for j in range(2 * i * half, (2 * i + 1) * half):
                    x, y = values[r, j], values[r, j + half]
                    total = x + y
                    values[r, j], values[r, j + half] = min(total, total - p), times(x + p - y, w, quotient, p)
            m, half = m // 2, 2 * half
        for j in range(size):
            values[r, j] = times(values[r, j], table[4, 0], table[5, 0], p)


@kernel(reads(types.uint64, 1), reads(types.int64, 1), reads(types.uint64, 3), types.uint64, writes(types.uint64, 3))
def add_products(factors, places, rows, p, out):
    """Sum in 128 bits: 2**27 products below 2**100."""
    wrap, wrap_quotient = wrapped(p)
    for i, row in np.ndindex(out.shape[:2]):
        for j in range(out.shape[2]):
            high, low = U(0), out[i, row, j]
            at = places[0] + i * places[1] + (j >> 4) * places[3] + (j & 15)
            for k in range(rows.shape[0]):
                a, b = factors[at + k * places[2]], rows[k, row, j]
                product = a * b
                low += product
                high += multiply_high(a, b) + U(low < product)
            out[i, row, j] = remainder(high, low, wrap, wrap_quotient, p)
