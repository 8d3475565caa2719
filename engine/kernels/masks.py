"""Masks for sums: AES-256 in counter mode, added to integers modulo 2**32 or 2**64; and how numbers become integers.

Parties that share a key pairwise mask what they publish, one adding and one subtracting, so that masks cancel in the
sum (Bonawitz et al., CCS 2017, section 4). A mask is the key stream (NIST SP 800-38A, 6.5) read as little-endian
words. **A key and counter must serve once**: a call uses ceil(bytes / 16) counters from the one that it is given.

Real numbers travel as integers: `quantise`, mask, add, `to_real`. Where sums are known to stay below 2**bits, `pack`
keeps only the low bits of each masked word, which masks modulo 2**bits just as well.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.kernels.threads import in_threads
from engine.kernels.tiers import kernel

__all__ = ["add_masks", "pack", "quantise", "to_real", "unpack"]

Bytes = NDArray[np.uint8]
Word = TypeVar("Word", np.uint32, np.uint64)

_PER_THREAD = 1 << 20  # words of 32 bits
_STEP = 1 << 12  # whole blocks, and pieces that kernels keep in the cache


def add_masks(
    values: NDArray[Word], keys: Bytes, signs: NDArray[Any], counter: int, out: NDArray[Word] | None = None
) -> NDArray[Word]:
    """Return values + sum_k signs[k] * mask(keys[k]), modulo 2**32 for uint32 (n,) and 2**64 for uint64.

    keys: uint8 (k, 32); signs: (k,), each 1 or -1; counter: that of the first block, 0 <= counter < 2**128, the same
    for all keys. `out`, where given, is filled and returned; it may be `values` itself. Time does not depend on keys
    or values. Raises Misuse for other shapes and types.
    """
    result = _target(values, out)
    signs = np.asarray(signs)
    if keys.ndim != 2 or keys.dtype != np.uint8 or keys.shape[1] != 32 or signs.shape != (len(keys),):
        raise Misuse("Masks need keys, uint8 of shape (k, 32), and a sign for each.")
    if not (np.abs(signs) == 1).all():
        raise Misuse("The sign of a mask is 1 or -1.")
    if not 0 <= counter < 1 << 128:
        raise Misuse("The counter of a mask lies in [0, 2**128).")
    if result is not values:
        result[:] = values
    run, lines, words = kernel("masks.add"), np.ascontiguousarray(keys).view("<u4"), result.view("<u4")

    def part(s: slice) -> None:
        first = (counter + s.start // 4) % (1 << 128)
        halves = np.array([first >> 64, first & (1 << 64) - 1], dtype=np.uint64)
        run(lines, signs < 0, halves, result.itemsize == 8, words[s])

    if len(keys):
        in_threads(len(words), part, _PER_THREAD / len(keys), _STEP)
    return result


def _target(values: NDArray[Word], out: NDArray[Word] | None) -> NDArray[Word]:
    if values.ndim != 1 or values.dtype not in (np.uint32, np.uint64):
        raise Misuse("Masks are added to uint32 or uint64 of shape (n,).")
    if out is None:
        return np.empty_like(values, order="C")
    if out.shape != values.shape or out.dtype != values.dtype or not (out.flags.c_contiguous and out.flags.writeable):
        raise Misuse("What is filled with masked values has their shape and type, is contiguous and can be written.")
    return out


def quantise(
    values: NDArray[np.floating],
    bits: int,
    limit: float,
    rounding: Literal["nearest", "stochastic"] = "nearest",
    key: Bytes | None = None,
    counter: int = 0,
) -> NDArray[np.int64]:
    """Return real numbers (n,) times 2**bits as int64, held within +-limit first.

    rounding: "nearest", halves to the even; or "stochastic", up with the probability of the fraction, to 53 bits of it,
    so that the mean is the number itself (Alistarh et al., QSGD, NeurIPS 2017, section 3.1). That takes the key
    stream of `key`, uint8 (32,), 8 bytes a number from `counter` on: **not one that masks anything**, nor another call.

    `astype` of the result to uint32 or uint64 is its residue. Raises Misuse where limit * 2**bits exceeds 2**53, a
    value is not a number, or the key does not go with the rounding.
    """
    if values.ndim != 1 or not 0 <= bits <= 53 or not 0 < limit * 2.0**bits <= 2.0**53:
        raise Misuse(
            "Numbers of shape (n,) are quantised to at most 53 bits, those after the point and above together."
        )
    if np.isnan(values).any():
        raise Misuse("A value to be quantised is not a number; check what was trained.")
    if rounding not in ("nearest", "stochastic") or (key is None) != (rounding == "nearest"):
        raise Misuse('Numbers are rounded to the "nearest" without a key, or "stochastic" with one.')
    numbers = np.ascontiguousarray(values, dtype=np.float64)
    out = np.zeros(values.shape, dtype=np.int64)
    if key is None:
        kernel("masks.quantise")(numbers, 2.0**bits, limit * 2.0**bits, out)
        return out
    draws = out.view(np.uint64)
    add_masks(draws, np.reshape(key, (1, -1)), np.ones(1), counter, out=draws)
    kernel("masks.quantise_by_draw")(numbers, 2.0**bits, limit * 2.0**bits, out)
    return out


def to_real(words: NDArray[np.unsignedinteger], bits: int, width: int) -> NDArray[np.float64]:
    """Return words of `width` bits, read as signed, divided by 2**bits, as float64."""
    if not 1 <= width <= 64:
        raise Misuse("A word has 1 to 64 bits.")
    unused = np.uint64(64 - width)
    signed = (words.astype(np.uint64) << unused).view(np.int64) >> unused.astype(np.int64)
    real: NDArray[np.float64] = signed.astype(np.float64) / 2.0**bits
    return real


def pack(words: NDArray[np.unsignedinteger], bits: int) -> Bytes:
    """Return the low `bits` bits (1 to 64) of each word (n,) without gaps, uint8 (ceil(n * bits / 8),)."""
    out = np.zeros(_packed_size(len(words), bits), dtype=np.uint8)
    kernel("masks.pack")(np.ascontiguousarray(words, dtype=np.uint64), np.uint64(bits), out)
    return out


def unpack(packed: Bytes, bits: int, count: int) -> NDArray[np.uint64]:
    """Undo `pack`; raises ValueError where a peer's bytes are of another size, or their last bits are set."""
    packed = np.ascontiguousarray(packed)
    if packed.dtype != np.uint8 or packed.shape != (_packed_size(count, bits),):
        raise ValueError("holds packed numbers of another size than agreed")
    spare = 8 * packed.size - count * bits
    if packed.size and int(packed[-1]) >> 8 - spare:
        raise ValueError("holds packed numbers followed by bits that are not zero")
    out = np.empty(count, dtype=np.uint64)
    kernel("masks.unpack")(packed, np.uint64(bits), out)
    return out


def _packed_size(count: int, bits: int) -> int:
    if not 1 <= bits <= 64 or count < 0:
        raise Misuse("Numbers of 1 to 64 bits can be packed.")
    return -(-count * bits // 8)
