"""The one place where randomness comes from: the operating system's generator.

Masks need megabytes a round; `random_bytes` expands a fresh 256-bit key of the operating system with AES-256-CTR,
which is indistinguishable from the source itself and runs at gigabytes a second. Nothing here can be seeded. Public,
repeatable choices (how rows are split, say) do not belong here: they come from the job's `seed`.
"""

from __future__ import annotations

import os

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

_DIRECT = 4096


def random_bytes(count: int) -> NDArray[np.uint8]:
    """Return `count` fresh uniform bytes, shape (count,), dtype uint8, writable."""
    if count <= _DIRECT:
        return np.frombuffer(bytearray(os.urandom(count)), dtype=np.uint8)
    out = np.empty(count + 15, dtype=np.uint8)
    cipher = Cipher(algorithms.AES256(os.urandom(32)), modes.CTR(bytes(16))).encryptor()
    cipher.update_into(bytes(count), out.data)
    return out[:count]


def random_words(shape: int | tuple[int, ...]) -> NDArray[np.uint64]:
    """Return uniform uint64 words of the given shape."""
    count = int(np.prod(shape))
    return random_bytes(8 * count).view(np.uint64).reshape(shape)


def random_below(bound: int, shape: int | tuple[int, ...]) -> NDArray[np.uint64]:
    """Return integers uniform in [0, bound), 1 <= bound <= 2**63, by rejection; shape as given, dtype uint64."""
    if not 1 <= bound <= 1 << 63:
        raise ValueError("bound must lie in [1, 2**63]")
    shift = np.uint64(64 - max(1, (bound - 1).bit_length()))
    out = random_words(shape) >> shift
    flat = out.reshape(-1)
    while (bad := np.flatnonzero(flat >= np.uint64(bound))).size:
        flat[bad] = random_words(bad.size) >> shift
    return out


def permutation(count: int) -> NDArray[np.int64]:
    """Return a uniform secret permutation of range(count), dtype int64.

    Places are sorted by 64-bit random keys; where two are equal (probability below count**2 / 2**65), all are drawn
    anew, so that every order is as likely as any other.
    """
    while True:
        keys = random_words(count)
        order = np.argsort(keys)
        if (keys[order[1:]] != keys[order[:-1]]).all():
            return order.astype(np.int64, copy=False)
