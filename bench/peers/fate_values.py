"""The Rust utilities of FATE: Paillier in batches; argument: bits of the key."""

from __future__ import annotations

import sys

import numpy as np
from fate_utils import paillier  # type: ignore[import-not-found]

from bench.clock import cpu_seconds, timed
from bench.peers import answer

VALUES, TIMES = 40, 20


def main(key_bits: int) -> None:
    """Encrypt with randomness, add, multiply by 53 bits of both signs, decrypt."""
    secret, public, coder = paillier.keygen(key_bits)
    numbers = np.random.default_rng(1)
    values = numbers.integers(-(1 << 52), 1 << 52, VALUES)
    scalars = numbers.integers(1 << 52, 1 << 53, VALUES) * numbers.choice([-1, 1], VALUES)
    plain, factors = coder.encode_i64_vec(values), coder.encode_i64_vec(scalars)
    encrypt, encrypted = timed(lambda: public.encrypt_encoded(plain, True))
    add = cpu_seconds(lambda: [encrypted.add(public, encrypted) for _ in range(TIMES)])
    times = cpu_seconds(lambda: encrypted.mul(public, factors))
    decrypt, decrypted = timed(lambda: secret.decrypt_to_encoded(encrypted))
    assert (np.asarray(coder.decode_i64_vec(decrypted)) == values).all()
    answer(
        encrypt=encrypt / VALUES * 1e6,
        add=add / TIMES / VALUES * 1e6,
        times=times / VALUES * 1e6,
        decrypt=decrypt / VALUES * 1e6,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
