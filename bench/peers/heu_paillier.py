"""SecretFlow's HEU, its Paillier (ZPaillier); arguments: bits of the key, rows and columns of the matrix.

One ciphertext holds one value and every step is repeated for each, so the cost of a product with the whole matrix is
that of its parts, which are measured on a few.
"""

from __future__ import annotations

import random
import sys
from typing import Any

from heu import phe  # type: ignore[import-not-found]

from bench.clock import cpu_seconds, timed
from bench.peers import answer

VALUES = 100
OPERATIONS = 300


def main(key_bits: int, rows: int, columns: int) -> None:
    """Encrypt, decrypt, and multiply and add up as a dot product with entries of 15 bits and a sign does."""
    kit = phe.setup(phe.SchemaType.ZPaillier, key_bits)
    encryptor, evaluator, decryptor = kit.encryptor(), kit.evaluator(), kit.decryptor()
    numbers = random.Random(1)  # noqa: S311 (the values, nothing secret)
    values = [numbers.randrange(1 << 45) for _ in range(VALUES)]
    plain = [kit.plaintext(value) for value in values]
    signed = [numbers.choice((-1, 1)) * numbers.randrange(1, 1 << 15) for _ in range(OPERATIONS)]
    factors = [kit.plaintext(factor) for factor in signed]

    encrypt, encrypted = timed(lambda: [encryptor.encrypt(value) for value in plain])

    def dot() -> Any:
        total = encrypted[0]
        for i, factor in enumerate(factors):
            total = evaluator.add(total, evaluator.mul(encrypted[i % VALUES], factor))
        return total

    add = cpu_seconds(dot) / OPERATIONS * 1e6
    decrypt, decrypted = timed(lambda: [decryptor.decrypt(one) for one in encrypted])
    assert [int(value) for value in decrypted] == values
    encrypt, decrypt = encrypt / VALUES * 1e6, decrypt / VALUES * 1e6
    answer(
        dot=add,
        round_trip=encrypt / rows + add + decrypt / columns,
        bytes=len(encrypted[0].serialize()) * (1 / rows + 1 / columns),
        encrypt=encrypt,
        decrypt=decrypt,
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
