"""A mask for integers, expanded from a seed and added; arguments: whose way, and how many uint32.

`openssl`: AES-256 in counter mode of `cryptography` (OpenSSL), then NumPy's addition. `mersenne`: what SecAgg+ of
Flower 1.41 does (`pseudo_rand_gen`, `parameters_addition`): NumPy's global Mersenne Twister, its seed 32 bits, int64.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from bench.clock import cpu_seconds
from bench.peers import answer

TIMES = 10


def openssl(values: np.ndarray, zeros: bytes, stream: np.ndarray) -> None:
    """Mask in place; the zeros to be encrypted and the room for the stream are there already."""
    cipher = Cipher(algorithms.AES256(os.urandom(32)), modes.CTR(bytes(16))).encryptor()
    cipher.update_into(zeros, stream.data)
    np.add(values, stream[: values.nbytes].view(np.uint32), out=values)


def mersenne(values: np.ndarray) -> np.ndarray:
    """Return the masked values."""
    np.random.seed(int.from_bytes(os.urandom(4), "little"))  # noqa: NPY002  this is what is measured
    return values + np.random.randint(0, (1 << 32) - 1, values.shape, dtype=np.int64)  # noqa: NPY002


def main(way: str, count: int) -> None:
    """Give the nanoseconds for each value."""
    values = np.zeros(count, dtype=np.uint32)
    zeros, stream, wide = bytes(values.nbytes), np.empty(values.nbytes + 15, dtype=np.uint8), values.astype(np.int64)
    ways: dict[str, Callable[[], object]] = {
        "openssl": lambda: openssl(values, zeros, stream),
        "mersenne": lambda: mersenne(wide),
    }
    work = ways[way]
    work()
    seconds = cpu_seconds(lambda: [work() for _ in range(TIMES)])
    answer(masks=seconds / TIMES / count * 1e9)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
