"""Masks from AES-256 in counter mode (NIST SP 800-38A, 6.5), block by block: the definition of `engine.kernels.masks`.

Words are numbers of 32 bits; with `wide` two of them, the low one first, are a number of 64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

Words = NDArray[np.uint32]


def add(keys: Words, negative: NDArray[np.bool_], counter: NDArray[np.uint64], wide: bool, words: Words) -> None:
    """Add the mask of each key to the words in place, or subtract it; counter: (high, low) of the first block."""
    size = 8 if wide else 4
    numbers = [int.from_bytes(words.tobytes()[i : i + size], "little") for i in range(0, words.nbytes, size)]
    for key, minus in zip(keys, negative, strict=True):
        stream = _stream(key.tobytes(), int(counter[0]) << 64 | int(counter[1]), words.nbytes)
        for i in range(len(numbers)):
            mask = int.from_bytes(stream[size * i : size * (i + 1)], "little")
            numbers[i] = (numbers[i] + (-mask if minus else mask)) % (1 << 8 * size)
    words[:] = np.frombuffer(b"".join(number.to_bytes(size, "little") for number in numbers), dtype="<u4")


def _stream(key: bytes, counter: int, count: int) -> bytes:
    cipher = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305  of which counter mode is made
    blocks = [((counter + i) % (1 << 128)).to_bytes(16, "big") for i in range(-(-count // 16))]
    return b"".join(cipher.update(block) for block in blocks)


def quantise(values: NDArray[np.float64], factor: float, limit: float, out: NDArray[Any]) -> None:
    """Fill int64 with values * factor, rounded to the nearest, halves to the even, and held within +-limit."""
    for i, value in enumerate(values):
        out[i] = round(min(max(float(value) * factor, -limit), limit))


def quantise_by_draw(values: NDArray[np.float64], factor: float, limit: float, out: NDArray[Any]) -> None:
    """Fill int64 as `quantise` does, but round up where the upper 53 of the 64 bits that `out` holds are below 2**53
    times the fraction: what is above the next lower integer, as float64.
    """
    for i, value in enumerate(values):
        held = min(max(float(value) * factor, -limit), limit)
        low = math.floor(held)
        draw = int(out[i]) % (1 << 64) >> 11
        out[i] = low + (draw < (held - low) * 2**53)


def pack(numbers: NDArray[np.uint64], bits: int, out: NDArray[np.uint8]) -> None:
    """Put the low `bits` bits of each number one after the other, the lowest bit first; zeros fill the last byte."""
    total = sum((int(number) & (1 << int(bits)) - 1) << int(bits) * i for i, number in enumerate(numbers))
    out[:] = np.frombuffer(total.to_bytes(out.size, "little"), dtype=np.uint8)


def unpack(packed: NDArray[np.uint8], bits: int, out: NDArray[np.uint64]) -> None:
    """Undo `pack`."""
    total = int.from_bytes(packed.tobytes(), "little")
    out[:] = [total >> int(bits) * i & (1 << int(bits)) - 1 for i in range(out.size)]
