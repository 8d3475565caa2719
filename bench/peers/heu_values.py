"""SecretFlow's HEU, value by value; arguments: one of its schemes (ZPaillier, ElGamal), bits of the key.

`sum` is one addition of its ElGamal, two points each. Its ElGamal decrypts what its table of logarithms holds, 16 bits.
"""

from __future__ import annotations

import random
import sys

from heu import phe  # type: ignore[import-not-found]

from bench.clock import cpu_seconds, timed
from bench.peers import answer

VALUES, SUMS, PRODUCTS = 100, 1000, 40
BITS = {"ZPaillier": 52, "ElGamal": 15}


def main(scheme: str, key_bits: int) -> None:
    """Encrypt, add, multiply by 53 bits of both signs where the scheme can, decrypt."""
    kit = phe.setup(getattr(phe.SchemaType, scheme), key_bits)
    encryptor, evaluator, decryptor = kit.encryptor(), kit.evaluator(), kit.decryptor()
    numbers = random.Random(1)  # noqa: S311 (the values, nothing secret)
    bound = 1 << BITS[scheme]
    values = [numbers.randrange(-bound, bound) for _ in range(VALUES)]
    plain = [kit.plaintext(value) for value in values]
    encrypt, encrypted = timed(lambda: [encryptor.encrypt(value) for value in plain])
    add = cpu_seconds(lambda: [evaluator.add(encrypted[i % VALUES], encrypted[i // VALUES]) for i in range(SUMS)])
    decryptor.decrypt(encrypted[0])  # makes its table
    decrypt, decrypted = timed(lambda: [decryptor.decrypt(one) for one in encrypted])
    assert [int(value) for value in decrypted] == values
    figures = {"encrypt": encrypt / VALUES * 1e6, "decrypt": decrypt / VALUES * 1e6}
    if scheme == "ElGamal":
        answer(**figures, sum=add / SUMS * 1e6)
        return
    signed = [numbers.choice((-1, 1)) * numbers.randrange(1 << 52, 1 << 53) for _ in range(PRODUCTS)]
    scalars = [kit.plaintext(scalar) for scalar in signed]
    times = cpu_seconds(lambda: [evaluator.mul(encrypted[i % VALUES], scalar) for i, scalar in enumerate(scalars)])
    answer(**figures, add=add / SUMS * 1e6, times=times / PRODUCTS * 1e6)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
