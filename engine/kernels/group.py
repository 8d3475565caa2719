"""The group ristretto255 (RFC 9496), batch first: prime order, canonical 32-byte encodings, hashing onto the group.

Elements are rows of uint8 arrays of shape (n, 32). A scalar of a batch is a Python int (taken modulo the order) or 32
little-endian bytes. Kernels run in the tier of this process, on all cores for large batches, with identical results in
each tier. Scalars, messages and elements are secrets: time depends on sizes, on the DST's length and on which rows are
valid, as far as the caveats of README.md go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from engine import randomness
from engine.errors import Misuse
from engine.kernels.constants import ORDER, D, P
from engine.kernels.threads import in_threads
from engine.kernels.tiers import kernel

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Scalar = int | Bytes

__all__ = [
    "ORDER",
    "add",
    "decode_valid",
    "expand_message_xmd",
    "expanded",
    "hash_and_multiply",
    "hash_to_group",
    "hash_to_scalars",
    "inverses",
    "multiply",
    "multiply_base",
    "multiply_each",
    "one_way_map",
    "random_scalar",
    "random_scalars",
    "scalar_rows",
    "sum_by_list",
]

DIGITS = 63
_WINDOWS = 64
_PER_THREAD = 2048
_PIECE = 64


def random_scalar() -> int:
    """Return a secret uniform scalar in [1, ORDER)."""
    wide = int.from_bytes(randomness.random_bytes(64).tobytes(), "little")  # within 2**-259 of uniform
    return 1 + wide % (ORDER - 1)


def random_scalars(count: int) -> Bytes:
    """Return secret uniform scalars in [1, ORDER), shape (count, 32), little endian."""
    return scalar_rows([1 + wide % (ORDER - 1) for wide in _numbers(randomness.random_bytes(64 * count), 64)])


def scalar_rows(scalars: Sequence[int]) -> Bytes:
    """Lay out numbers below 2**256 as rows of 32 little-endian bytes."""
    return np.frombuffer(b"".join([s.to_bytes(32, "little") for s in scalars]), dtype=np.uint8).reshape(-1, 32)


def inverses(scalars: Bytes) -> Bytes:
    """Return the inverse modulo the order of each row, a scalar in [1, ORDER); one inversion in all (Montgomery)."""
    numbers, products = _numbers(scalars, 32), [1]
    for number in numbers:
        products.append(products[-1] * number % ORDER)
    running, out = pow(products[-1], -1, ORDER), []
    for number, before in zip(reversed(numbers), reversed(products[:-1]), strict=True):
        out.append(running * before % ORDER)
        running = running * number % ORDER
    return scalar_rows(out[::-1])


def _numbers(rows: Bytes, width: int) -> list[int]:
    raw = rows.tobytes()
    return [int.from_bytes(raw[i : i + width], "little") for i in range(0, len(raw), width)]


def hash_to_group(messages: Bytes, dst: bytes) -> Bytes:
    """Hash each row of at most 64 bytes to an element: ristretto255_XMD:SHA-512_R255MAP_RO_ (RFC 9380, appendix B)."""
    return one_way_map(_expanded(messages, dst))


def hash_and_multiply(messages: Bytes, dst: bytes, scalar: Scalar) -> Bytes:
    """Return `hash_to_group(messages, dst)` times a secret scalar, without an encoding in between."""
    uniform, digits = _expanded(messages, dst), _halved_digits(scalar)
    out = np.empty((len(uniform), 32), dtype=np.uint8)
    _in_threads(len(out), lambda s: kernel("group.map_multiply")(_words(uniform[s]), digits, _words(out[s])))
    return out


def multiply(points: Bytes, scalar: Scalar) -> tuple[Bytes, Mask]:
    """Return each element times a secret scalar, and which rows were elements other than the identity.

    The other rows (no canonical encoding, RFC 9496, 4.3.1, or the identity) come out as zeros; what they mean is the
    caller's to decide.
    """
    points, digits = _elements(points), _halved_digits(scalar)
    out, valid = np.empty((len(points), 32), dtype=np.uint8), np.empty(len(points), dtype=np.bool_)
    _in_threads(len(out), lambda s: kernel("group.multiply")(_words(points[s]), digits, _words(out[s]), valid[s]))
    return out, valid


def multiply_each(points: Bytes, scalars: Bytes) -> tuple[Bytes, Mask]:
    """Return each element times its own secret scalar below 2**253, a row of 32 bytes; else as `multiply`."""
    points, scalars = _elements(points), _scalars(scalars)
    if len(points) != len(scalars):
        raise Misuse("Elements and their scalars are two arrays of the same length.")
    halves = _halved(scalars)
    out, valid = np.empty((len(points), 32), dtype=np.uint8), np.empty(len(points), dtype=np.bool_)
    run = kernel("group.multiply_each")
    _in_threads(len(out), lambda s: run(_words(points[s]), halves[s], _words(out[s]), valid[s]))
    return out, valid


def decode_valid(points: Bytes) -> Mask:
    """Say which rows are canonical encodings of elements, the identity (zeros) included."""
    points = _elements(points)
    valid = np.empty(len(points), dtype=np.bool_)
    _in_threads(len(points), lambda s: kernel("group.check")(_words(points[s]), valid[s]))
    return valid


def one_way_map(uniform: Bytes) -> Bytes:
    """Map rows of 64 uniform bytes to elements (RFC 9496, 4.3.4)."""
    uniform = _rows(uniform, 64, "Uniform bytes")
    out = np.empty((len(uniform), 32), dtype=np.uint8)
    _in_threads(len(out), lambda s: kernel("group.map")(_words(uniform[s]), _words(out[s])))
    return out


def add(p: Bytes, q: Bytes) -> Bytes:
    """Return the sum of each pair of rows; raises Misuse where a row is no element (see `decode_valid`)."""
    p, q = _elements(p), _elements(q)
    if len(p) != len(q):
        raise Misuse("Elements are added row by row: give two arrays of the same length.")
    out, valid = np.empty((len(p), 32), dtype=np.uint8), np.empty(len(p), dtype=np.bool_)
    _in_threads(len(p), lambda s: kernel("group.add")(_words(p[s]), _words(q[s]), _words(out[s]), valid[s]))
    _require(valid)
    return out


def sum_by_list(points: Bytes, offsets: NDArray[np.int64]) -> Bytes:
    """Return the sum of the rows from each offset to the next, the identity for none: (len(offsets) - 1, 32).

    Raises Misuse where a row is no element. Long lists are summed in pieces, so that lanes have equal work.
    """
    points, offsets = _elements(points), _ascending(offsets, len(points))
    if len(points) == 0 or len(offsets) == 1:
        return np.zeros((len(offsets) - 1, 32), dtype=np.uint8)
    pieces = np.maximum(1, -(-np.diff(offsets) // _PIECE))
    bounds = np.concatenate([[0], np.cumsum(pieces)])
    starts = np.repeat(offsets[:-1] - _PIECE * bounds[:-1], pieces) + _PIECE * np.arange(bounds[-1])
    partial = _sums(points, np.append(starts, offsets[-1]))
    return partial if bounds[-1] == len(pieces) else sum_by_list(partial, bounds)


def _ascending(offsets: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    well_formed = offsets.ndim == 1 and offsets.dtype.kind in "iu" and len(offsets) > 0
    if not well_formed or offsets[0] < 0 or offsets[-1] > limit or (offsets[1:] < offsets[:-1]).any():
        raise Misuse("Offsets of lists are integers that ascend from 0 or later to at most the number of elements.")
    return np.ascontiguousarray(offsets, dtype=np.int64)


def _sums(points: Bytes, offsets: NDArray[np.int64]) -> Bytes:
    count = len(offsets) - 1
    out, valid = np.empty((count, 32), dtype=np.uint8), np.empty(count, dtype=np.bool_)

    def part(s: slice) -> None:
        kernel("group.sums")(_words(points), offsets[s.start : s.stop + 1], _words(out[s]), valid[s])

    _in_threads(count, part)
    _require(valid)
    return out


def multiply_base(scalars: Bytes) -> Bytes:
    """Return the generator times each row, a secret scalar below 2**253 in 32 little-endian bytes; identity for 0."""
    scalars = _scalars(scalars)
    out = np.empty((len(scalars), 32), dtype=np.uint8)
    table = _base_table()
    _in_threads(len(out), lambda s: kernel("group.multiply_base")(_words(scalars[s]), table, _words(out[s])))
    return out


def expand_message_xmd(message: bytes, dst: bytes, length: int) -> bytes:
    """Expand a message to uniform bytes with SHA-512 (RFC 9380, 5.3.1, 5.3.3); at most 255 * 64 bytes."""
    if not 0 < length <= 255 * 64:
        raise Misuse("A message can be expanded to 1 to 16320 bytes.")
    prime = _primed(dst)
    first = hashlib.sha512(bytes(128) + message + length.to_bytes(2, "big") + b"\x00" + prime).digest()
    block, out = bytes(64), b""
    for i in range(1, -(-length // 64) + 1):
        mixed = bytes(a ^ b for a, b in zip(first, block, strict=True))
        block = hashlib.sha512(mixed + bytes([i]) + prime).digest()
        out += block
    return out[:length]


def _primed(dst: bytes) -> bytes:
    """Return the DST followed by its length; a longer one than 255 bytes is hashed first (RFC 9380, 5.3.3)."""
    if not dst:
        raise Misuse("A hash to the group needs a domain separation tag that is not empty.")
    if len(dst) > 255:
        dst = hashlib.sha512(b"H2C-OVERSIZE-DST-" + dst).digest()
    return dst + bytes([len(dst)])


def _expanded(messages: Bytes, dst: bytes, widest: int = 64) -> Bytes:
    if messages.ndim != 2 or messages.dtype != np.uint8 or messages.shape[1] > widest:
        raise Misuse(f"Messages are rows of a uint8 array, at most {widest} bytes wide.")
    messages, prime = np.ascontiguousarray(messages), np.frombuffer(_primed(dst), dtype=np.uint8)
    out = np.empty((len(messages), 64), dtype=np.uint8)
    _in_threads(len(out), lambda s: kernel("group.expand")(messages[s], prime, out[s]))
    return out


def expanded(messages: Bytes, dst: bytes) -> Bytes:
    """Hash each row of at most 64 bytes to 64 uniform bytes: `expand_message_xmd` in batches."""
    return _expanded(messages, dst)


def hash_to_scalars(messages: Bytes, dst: bytes) -> Bytes:
    """Hash each row of at most 256 bytes to a scalar (RFC 9497, 4.1), shape (n, 32), little endian."""
    wide = _numbers(_expanded(messages, dst, 256), 64)
    return scalar_rows([number % ORDER for number in wide])


def _scalars(scalars: Bytes) -> Bytes:
    scalars = _rows(scalars, 32, "Scalars")
    if (scalars[:, 31] >= 32).any():
        raise Misuse("A scalar is not below 2**253; reduce it modulo the order of the group.")
    return scalars


def _halved(scalars: Bytes) -> NDArray[np.uint64]:
    """Return half of each scalar modulo the order, as words: of the scalar or, if it is odd, of it plus the order."""
    order = np.frombuffer(ORDER.to_bytes(32, "little"), dtype="<u8")
    words, out = _words(scalars), np.empty((len(scalars), 4), dtype=np.uint64)
    odd, carry = np.uint64(0) - (words[:, 0] & np.uint64(1)), np.zeros(len(words), dtype=np.uint64)
    for i in range(4):
        added = words[:, i] + (order[i] & odd)
        total = added + carry
        carry = ((added < words[:, i]) | (total < added)).astype(np.uint64)
        out[:, i] = total
    out[:, :3] = out[:, :3] >> np.uint64(1) | out[:, 1:] << np.uint64(63)
    out[:, 3] >>= np.uint64(1)
    return out


def _elements(points: Bytes) -> Bytes:
    return _rows(points, 32, "Elements")


def _rows(array: Bytes, width: int, what: str) -> Bytes:
    if array.ndim != 2 or array.dtype != np.uint8 or array.shape[1] != width:
        raise Misuse(f"{what} are rows of a uint8 array of shape (n, {width}).")
    return np.ascontiguousarray(array)


def _words(array: Bytes) -> NDArray[np.uint64]:
    """View rows of bytes as the little-endian words that kernels compute with."""
    return array.view("<u8")


def _require(valid: Mask) -> None:
    if not valid.all():
        raise Misuse("A row is not the canonical encoding of an element; check what peers send with decode_valid.")


def _in_threads(count: int, run: Callable[[slice], None], work: int = 1) -> None:
    in_threads(count, run, _PER_THREAD / work)


def _halved_digits(scalar: Scalar) -> NDArray[np.int8]:
    """Return half the scalar modulo the order (kernels encode doubles) as signed digits of radix 16."""
    if isinstance(scalar, np.ndarray):
        if scalar.shape != (32,) or scalar.dtype != np.uint8:
            raise Misuse("A scalar is an integer or a uint8 array of shape (32,).")
        scalar = int.from_bytes(scalar.tobytes(), "little")
    return digits_of(int(scalar) * (ORDER + 1) // 2 % ORDER)


def digits_of(number: int) -> NDArray[np.int8]:
    """Return a number below the order, or that less the order, as 63 digits in [-8, 8], least significant first.

    Centred numbers take a digit less. Adding 8 to each digit makes them nibbles; the top one may be 16.
    """
    shifted = number - ORDER * (number > ORDER // 2) + 8 * (16**DIGITS - 1) // 15
    low, high = shifted % 16 ** (DIGITS - 1), shifted >> 4 * (DIGITS - 1)
    pairs = np.frombuffer(low.to_bytes(DIGITS // 2, "little"), dtype=np.uint8)
    nibbles = np.append(np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1), np.uint8(high))
    return nibbles.astype(np.int8) - np.int8(8)


@cache
def _base_table() -> NDArray[np.uint64]:
    """Return the affine multiples of half the generator that `multiply_base` adds up; see rows.multiply_base_rows."""
    from engine.kernels.reference import group as reference

    step = reference.times((ORDER + 1) // 2, reference.generator())
    table = np.empty((_WINDOWS, 8, 12), dtype=np.uint64)
    for window in table:
        point = step
        for entry in window:
            x, y = (c * pow(point[2], -1, P) % P for c in point[:2])
            packed = b"".join((v % P).to_bytes(32, "little") for v in (y + x, y - x, 2 * D * x * y))
            entry[:] = np.frombuffer(packed, dtype="<u8")
            last, point = point, reference.plus(point, step)
        step = reference.plus(last, last)
    return table
