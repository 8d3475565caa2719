"""python-paillier with gmpy2, value by value; argument: bits of the key."""

from __future__ import annotations

import random
import sys

from phe import paillier

from bench.clock import cpu_seconds, timed
from bench.peers import answer

VALUES, SUMS, PRODUCTS = 20, 1000, 40


def main(key_bits: int) -> None:
    """Encrypt, add, multiply by 53 bits of both signs, decrypt."""
    public, secret = paillier.generate_paillier_keypair(n_length=key_bits)
    numbers = random.Random(1)  # noqa: S311 (the values, nothing secret)
    values = [numbers.randrange(-(1 << 52), 1 << 52) for _ in range(VALUES)]
    scalars = [numbers.choice((-1, 1)) * numbers.randrange(1 << 52, 1 << 53) for _ in range(PRODUCTS)]
    encrypt, encrypted = timed(lambda: [public.encrypt(value) for value in values])
    add = cpu_seconds(lambda: [encrypted[i % VALUES] + encrypted[(i + 1) % VALUES] for i in range(SUMS)])
    times = cpu_seconds(lambda: [encrypted[i % VALUES] * scalar for i, scalar in enumerate(scalars)])
    decrypt, decrypted = timed(lambda: [secret.decrypt(one) for one in encrypted])
    assert decrypted == values
    answer(
        encrypt=encrypt / VALUES * 1e6,
        add=add / SUMS * 1e6,
        times=times / PRODUCTS * 1e6,
        decrypt=decrypt / VALUES * 1e6,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
