# mypy: allow-untyped-defs, no-check-untyped-defs
"""Masks by OpenSSL's counter mode, in pieces that stay in the cache; quantising and packing in scalar Numba."""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numba.core import types

from engine.kernels.jit import kernel, reads, writes

U = np.uint64
_PIECE = 1 << 16  # bytes of words that all keys pass over before the next


def add(keys, negative, counter, wide, words):
    first = int(counter[0]) << 64 | int(counter[1])
    ciphers = [
        Cipher(algorithms.AES256(key.tobytes()), modes.CTR(first.to_bytes(16, "big"))).encryptor() for key in keys
    ]
    zeros, stream = bytes(_PIECE), np.empty(_PIECE + 15, dtype=np.uint8)
    for start in range(0, words.nbytes, _PIECE):
        piece = words[start // 4 : (start + _PIECE) // 4].view(np.uint64 if wide else np.uint32)
        mask = stream[: piece.nbytes].view(piece.dtype)
        for cipher, minus in zip(ciphers, negative, strict=True):
            cipher.update_into(memoryview(zeros)[: piece.nbytes], stream.data)
            if minus:
                np.subtract(piece, mask, out=piece)
            else:
                np.add(piece, mask, out=piece)


@kernel(reads(types.float64, 1), types.float64, types.float64, writes(types.int64, 1))
def quantise(values, factor, limit, out):
    for i in range(values.size):
        out[i] = np.int64(np.rint(min(max(values[i] * factor, -limit), limit)))


@kernel(reads(types.float64, 1), types.float64, types.float64, writes(types.int64, 1))
def quantise_by_draw(values, factor, limit, out):
    for i in range(values.size):
        held = min(max(values[i] * factor, -limit), limit)
        low = np.floor(held)
        draw = np.float64(U(out[i]) >> U(11))
        out[i] = np.int64(low) + np.int64(draw < (held - low) * 2.0**53)


@kernel(reads(types.uint64, 1), types.uint64, writes(types.uint8, 1))
def pack(numbers, bits, out):
    """Hold fewer than 8 bits over from number to number; a number of 64 bits is taken in two halves."""
    held, count, at = U(0), U(0), 0
    for i in range(numbers.size):
        number, rest = numbers[i], bits
        while rest > U(0):
            taken = min(rest, U(32))
            held |= (number & (U(1) << taken) - U(1)) << count
            number >>= taken
            rest -= taken
            count += taken
            while count >= U(8):
                out[at] = held & U(255)
                held, count, at = held >> U(8), count - U(8), at + 1
    if count > U(0):
        out[at] = held


@kernel(reads(types.uint8, 1), types.uint64, writes(types.uint64, 1))
def unpack(packed, bits, out):
    held, count, at = U(0), U(0), 0
    for i in range(out.size):
        number, done = U(0), U(0)
        while done < bits:
            taken = min(bits - done, U(32))
            while count < taken:
                held |= U(packed[at]) << count
                count, at = count + U(8), at + 1
            number |= (held & (U(1) << taken) - U(1)) << done
            held, count, done = held >> taken, count - taken, done + taken
        out[i] = number
