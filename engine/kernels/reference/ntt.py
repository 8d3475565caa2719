"""Transforms of polynomials modulo x**N + 1 and a prime, in Python integers: the definition of `engine.kernels.ntt`.

`table` is made by `engine.kernels.ntt`; here only its first row counts, the powers of a root psi of order 2N:
table[0, m + i] = psi**e modulo p, where x**(N/m) - psi**(2e) is the i-th of the m factors that the first steps split
x**N + 1 into.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]


def forward(table: Words, prime: int, values: Words) -> None:
    """Replace coefficients, rows of values, by the values at the odd powers of psi, in the order of `permuted`."""
    p, size = int(prime), values.shape[1]
    for row in values:
        f = [int(x) for x in row]
        m = 1
        while m < size:
            half = size // m // 2
            for i in range(m):
                w, start = int(table[0, m + i]), 2 * i * half
                for j in range(start, start + half):
                    f[j], f[j + half] = (f[j] + w * f[j + half]) % p, (f[j] - w * f[j + half]) % p
            m *= 2
        row[:] = permuted(np.array(f, dtype=np.uint64))


def inverse(table: Words, prime: int, values: Words) -> None:
    """Undo `forward`."""
    p, size = int(prime), values.shape[1]
    for row in values:
        f = [int(x) for x in permuted(row)]
        m = size // 2
        while m:
            half = size // m // 2
            for i in range(m):
                w, start = pow(2 * int(table[0, m + i]), -1, p), 2 * i * half
                for j in range(start, start + half):
                    a, b = f[j], f[j + half]
                    f[j], f[j + half] = (a + b) * pow(2, -1, p) % p, (a - b) * w % p
            m //= 2
        row[:] = f


def permuted(values: NDArray[Any]) -> NDArray[Any]:
    """Transpose each 64 values as a square of eight by eight, which is its own inverse."""
    return values.reshape(-1, 8, 8).transpose(0, 2, 1).reshape(-1)


def add_products(factors: Words, places: NDArray[np.int64], rows: Words, prime: int, out: Words) -> None:
    """Add to (m, r, N) sum_k factor_ik * rows[k] modulo p, rows (count, r, N); places: (first, across, along, pitch).

    factor_ik lies in `factors` in pieces of 16 words, `pitch` words apart, the first at first + i*across + k*along.
    """
    first, across, along, pitch = places.tolist()
    pieces = pitch * np.arange(rows.shape[2] // 16)[:, None] + np.arange(16)
    for i, result in enumerate(out):
        total = result.astype(object)
        for k, row in enumerate(rows):
            total += factors[first + i * across + k * along + pieces].astype(object).reshape(-1) * row.astype(object)
        result[:] = total % int(prime)
