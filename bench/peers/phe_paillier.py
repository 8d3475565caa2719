"""python-paillier with gmpy2; arguments: bits of the key, rows and columns of the matrix.

One ciphertext holds one value and every step is repeated for each, so the cost of a product with the whole matrix is
that of its parts, which are measured on a few.
"""

from __future__ import annotations

import random
import sys

from phe import paillier

from bench.clock import cpu_seconds, timed
from bench.peers import answer

VALUES = 30
OPERATIONS = 300


def main(key_bits: int, rows: int, columns: int) -> None:
    """Encrypt, decrypt, and multiply and add up as a dot product with entries of 15 bits and a sign does."""
    public, secret = paillier.generate_paillier_keypair(n_length=key_bits)
    numbers = random.Random(1)  # noqa: S311 (the values, nothing secret)
    values = [numbers.randrange(1 << 45) for _ in range(VALUES)]
    factors = [numbers.choice((-1, 1)) * numbers.randrange(1, 1 << 15) for _ in range(OPERATIONS)]

    encrypt, encrypted = timed(lambda: [public.encrypt(value) for value in values])

    def dot() -> object:
        total = encrypted[0]
        for i, factor in enumerate(factors):
            total = total + encrypted[i % VALUES] * factor
        return total

    add = cpu_seconds(dot) / OPERATIONS * 1e6
    decrypt, decrypted = timed(lambda: [secret.decrypt(one) for one in encrypted])
    assert decrypted == values
    encrypt, decrypt = encrypt / VALUES * 1e6, decrypt / VALUES * 1e6
    answer(
        dot=add,
        round_trip=encrypt / rows + add + decrypt / columns,
        bytes=key_bits / 4 * (1 / rows + 1 / columns),
        encrypt=encrypt,
        decrypt=decrypt,
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
