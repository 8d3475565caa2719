"""TenSEAL's CKKS at N = 8192: encrypted vector times plain matrix; arguments: rows and columns of our matrix.

Measured in the direction that suits it best: the encrypted vector holds the columns' weights, and one product gives
4096 rows less the number of columns (beyond that its last rows come out wrong). Taller matrices take one such product
after the other. Approximate; answers are not masked.
"""

from __future__ import annotations

import sys

import numpy as np
import tenseal as ts

from bench.clock import timed
from bench.peers import answer

DEGREE = 8192
TIMES = 5


def main(rows: int, columns: int) -> None:
    """Multiply the encrypted weights by the transposed matrix, and encrypt and decrypt a full vector."""
    context = ts.context(
        ts.SCHEME_TYPE.CKKS, poly_modulus_degree=DEGREE, coeff_mod_bit_sizes=[60, 40, 40, 60], n_threads=1
    )
    context.global_scale = 2**40
    context.generate_galois_keys()
    numbers, rows = np.random.default_rng(0), min(rows, DEGREE // 2 - columns)
    entries = rows * columns
    weights, full = numbers.standard_normal(columns), numbers.standard_normal(DEGREE // 2).tolist()
    matrix = numbers.standard_normal((columns, rows))
    listed = matrix.tolist()

    asking, asked = timed(lambda: ts.ckks_vector(context, weights.tolist()))
    dot, product = timed(lambda: asked.mm(listed))
    reading, scores = timed(product.decrypt)
    assert np.allclose(scores, weights @ matrix, atol=1e-3)
    encrypt, vectors = timed(lambda: [ts.ckks_vector(context, full) for _ in range(TIMES)])
    decrypt, _ = timed(lambda: [vector.decrypt() for vector in vectors])
    answer(
        dot=dot / entries * 1e6,
        round_trip=(asking + dot + reading) / entries * 1e6,
        bytes=(len(asked.serialize()) + len(product.serialize())) / entries,
        encrypt=encrypt / (TIMES * len(full)) * 1e6,
        decrypt=decrypt / (TIMES * len(full)) * 1e6,
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
