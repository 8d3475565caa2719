"""The peer's side of `engine.he.ckks`: arithmetic on encrypted rows, with bounds of numbers, noise and roundings."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from engine.errors import Misuse
from engine.he.ckks_context import DISTANCE, Bytes, Floats
from engine.he.ckks_parameters import ANSWER, FRESH, Parameters, numbers_of, theirs
from engine.he.sealraw import SEED_BYTES

_STATISTICAL = 2.0**-40


@dataclass(frozen=True, eq=False)
class Encrypted:
    """Encrypted rows in the peer's hands."""

    key: PublicKey
    level: int
    """How many products with plain numbers can still follow."""
    bound: float
    """The largest size that any number in it can have."""
    noise: float
    """What the 2-norm of the noise cannot exceed, but for probability 2**-50; see `ckks_context`."""
    rounding: float
    """How far numbers can be off because they and factors were encoded with finite precision."""
    summed: bool
    """Whether each row is one number, a sum."""
    _rows: list[Any] = field(repr=False)

    def __len__(self) -> int:
        return len(self._rows)


class PublicKey:
    """What computes; `public` is its form on the wire, uint8 (public_bytes,)."""

    def __init__(self, scheme: Parameters, wire: bytes) -> None:
        at, self.scheme, self._context = 16, scheme, scheme.context
        size, switch = self._context.public_bytes, self._context.switch_bytes
        public, wire_left = wire[at : at + size], wire[at + size :]
        self.public: Bytes = np.frombuffer(wire, dtype=np.uint8)
        self.fingerprint = hashlib.sha256(wire).digest()[:16]
        self._relin = theirs(self._context.load_relin, wire_left[:switch]) if scheme.products else None
        rest = wire_left[switch * scheme.products :]
        self._rotations = theirs(self._context.load_rotations, rest, scheme.steps) if scheme.steps else None
        self._encryptor = self._context.api.Encryptor(self._context.seal, theirs(self._context.load_public, public))

    def from_bytes(self, data: Bytes) -> Encrypted:
        """Check and read what the owner encrypted; ValueError unless it is of these parameters and this key."""
        body, level, _, rows = self.scheme.opened(data, FRESH, self.fingerprint)
        size = self._context.fresh_bytes
        wires = [body[i * size : (i + 1) * size] for i in range(rows)]
        if len({wire[-SEED_BYTES:] for wire in wires}) < rows:
            raise ValueError("holds a row whose randomness is that of another row")
        loaded = [theirs(self._context.load_fresh, wire, self.scheme.scales[level]) for wire in wires]
        bound = 2.0**self.scheme.bits
        return Encrypted(self, level, bound, self._context.fresh, self._coding(level, bound), False, loaded)

    def add(self, a: Encrypted, b: Encrypted | Floats | float) -> Encrypted:
        """Return the sums of rows with rows of the same level, or with plain numbers."""
        return self._with_rows(a, b, 1) if isinstance(b, Encrypted) else self._with_plain(a, b, 1)

    def subtract(self, a: Encrypted, b: Encrypted | Floats | float) -> Encrypted:
        """Return the differences of rows and rows of the same level, or plain numbers."""
        return self._with_rows(a, b, -1) if isinstance(b, Encrypted) else self._with_plain(a, b, -1)

    def times(self, c: Encrypted, factors: Floats | float) -> Encrypted:
        """Return rows times plain numbers, (values,), (rows, values) or one; takes a level."""
        return self._rescaled(self._times(c, factors), 1)

    def multiply(self, a: Encrypted, b: Encrypted) -> Encrypted:
        """Return rows times rows of the same level, number by number; takes two levels, and needs `products`."""
        return self._rescaled(self._multiply(a, b), 2)

    def lower(self, c: Encrypted) -> Encrypted:
        """Return the same numbers a level lower, to be added to others there."""
        return self.times(c, 1.0)

    def sum(self, c: Encrypted) -> Encrypted:
        """Return the sum of each row; needs `sums`. Sums of products are more precise with `dot`."""
        self._own(c)
        if not self.scheme.sums or c.summed:
            raise Misuse("Sums need rows that are not sums yet, and a scheme with sums=True.")
        bound, noise, rows = self._within(self.scheme.values * c.bound), c.noise, c._rows
        for step in self.scheme.steps:
            rows = [self._rotated_sum(row, step) for row in rows]
            noise = 2 * noise + self._context.switching(c.level)
        return replace(c, bound=bound, noise=noise, rounding=self._period * c.rounding, summed=True, _rows=rows)

    def dot(self, c: Encrypted, other: Encrypted | Floats) -> Encrypted:
        """Return the sum of each row's products with plain numbers (one level) or rows (two); needs `sums`."""
        if isinstance(other, Encrypted):
            return self._rescaled(self.sum(self._multiply(c, other)), 2)
        return self._rescaled(self.sum(self._times(c, other)), 1)

    def to_bytes(self, c: Encrypted) -> Bytes:
        """Return an answer for the owner, uint8 (answer_bytes(rows),), re-randomised and flooded.

        Raises Misuse where the flooding could not hide the noise, or results could be further off than `error`.
        """
        self._own(c)
        scheme, noise = self.scheme, c.noise + self._context.zero
        distance = DISTANCE * math.sqrt(len(c)) * noise / 2.0**scheme.flood_bits
        if not distance <= _STATISTICAL:
            raise Misuse(
                f"The noise to hide takes flooding of 2**{math.log2(distance / _STATISTICAL):.1f} times the width that "
                f"an error of {scheme.error:g} leaves; agree on a larger error or scale_bits, or use smaller factors."
            )
        error = 0.75 * scheme.error + c.rounding + self.answer_coding(c.level, noise)
        if not error <= scheme.error:
            raise Misuse(
                f"Results could be off by {error:g}, and {scheme.error:g} was agreed; agree on more scale_bits."
            )
        head = scheme.header(ANSWER, c.level, c.summed, len(c), self.fingerprint)
        answers = [self._flooded(row, c.level) for row in c._rows]
        return np.frombuffer(head + b"".join(answers), dtype=np.uint8)

    def answer_coding(self, level: int, noise: float) -> float:
        """How far off a decrypted number can be from noise of this 2-norm, the mean of floods, and its decoding."""
        scale = self.scheme.scales[level]
        return (self._context.peak * noise + self.scheme.degree) / scale + 2.0 ** (self.scheme.sum_bits - 44)

    def _flooded(self, row: Any, level: int) -> bytes:
        lowest, total = self._context.api.Ciphertext(), self._zero(0, self.scheme.scales[level])
        self._context.evaluator.mod_switch_to(row, self._context.ids[0], lowest)
        self._context.evaluator.add_inplace(total, lowest)
        residues = self._context.answer_residues(total)
        self.scheme.add_flood(residues)
        return residues.tobytes()

    def _zero(self, level: int, scale: float) -> Any:
        """Return a fresh encryption of zero."""
        zero = self._context.api.Ciphertext()
        self._encryptor.encrypt_zero(self._context.ids[level], zero)
        zero.scale = scale
        return zero

    def _result(self, operation: Callable[..., None], *operands: Any, level: int, scale: float) -> Any:
        """Return what the operation computes; an encryption of zero where SEAL refuses because nothing is left."""
        out = self._context.api.Ciphertext()
        try:
            operation(*operands, out)
        except RuntimeError as cause:
            if "transparent" not in str(cause):
                raise
            return self._zero(level, scale)
        out.scale = scale
        return out

    def _with_rows(self, a: Encrypted, b: Encrypted, sign: int) -> Encrypted:
        self._same(a, b)
        bound, noise = self._within(a.bound + b.bound), max(a.noise + b.noise, self._context.zero)
        evaluator, scale = self._context.evaluator, self.scheme.scales[a.level]
        step = evaluator.add if sign > 0 else evaluator.sub
        rows = [self._result(step, p, q, level=a.level, scale=scale) for p, q in zip(a._rows, b._rows, strict=True)]
        return replace(a, bound=bound, noise=noise, rounding=a.rounding + b.rounding, _rows=rows)

    def _with_plain(self, c: Encrypted, numbers: Floats | float, sign: int) -> Encrypted:
        scale = self.scheme.scales[c.level]
        plains, size = self._plains(c, numbers, c.level, scale)
        bound, rounding = self._within(c.bound + size), c.rounding + self._context.coding(scale, size)
        rows = []
        for row, plain in zip(c._rows, plains, strict=True):
            out, evaluator = self._context.api.Ciphertext(), self._context.evaluator
            (evaluator.add_plain if sign > 0 else evaluator.sub_plain)(row, plain, out)
            rows.append(out)
        return replace(c, bound=bound, rounding=rounding, _rows=rows)

    def _times(self, c: Encrypted, factors: Floats | float) -> Encrypted:
        """Return products that wait to be rescaled once."""
        self._levels(c, 1)
        before, after = self.scheme.scales[c.level], self.scheme.scales[c.level - 1]
        scale = self._context.primes[c.level + 1] * after / before
        plains, size = self._plains(c, factors, c.level, scale)
        off = self._context.coding(scale, size)
        bound = self._within(c.bound * size)
        rounding = c.rounding * size + (c.bound + c.rounding) * off
        noise = max(c.noise * (size + off) * scale, self._context.zero)
        step = self._context.evaluator.multiply_plain
        rows = [
            self._result(step, p, w, level=c.level, scale=before * scale) for p, w in zip(c._rows, plains, strict=True)
        ]
        return replace(c, bound=bound, noise=noise, rounding=rounding, _rows=rows)

    def _multiply(self, a: Encrypted, b: Encrypted) -> Encrypted:
        """Return products that wait to be rescaled twice."""
        self._same(a, b)
        self._levels(a, 2)
        if self._relin is None:
            raise Misuse("Products of ciphertexts need a scheme with products=True.")
        scale, bound = self.scheme.scales[a.level], self._within(a.bound * b.bound)
        sizes = [scale * (c.bound + c.rounding) for c in (a, b)]
        noise = sizes[0] * b.noise + sizes[1] * a.noise + self._context.peak * a.noise * b.noise
        rounding = a.bound * b.rounding + b.bound * a.rounding + a.rounding * b.rounding
        rows = [self._product(p, q, a.level, scale * scale) for p, q in zip(a._rows, b._rows, strict=True)]
        return replace(a, bound=bound, noise=noise + self._context.switching(a.level), rounding=rounding, _rows=rows)

    def _product(self, p: Any, q: Any, level: int, scale: float) -> Any:
        out = self._result(self._context.evaluator.multiply, p, q, level=level, scale=scale)
        if out.size() > 2:
            self._context.evaluator.relinearize_inplace(out, self._relin)
        return out

    def _rotated_sum(self, row: Any, step: int) -> Any:
        turned = self._context.api.Ciphertext()
        self._context.evaluator.rotate_vector(row, step, self._rotations, turned)
        self._context.evaluator.add_inplace(turned, row)
        return turned

    def _rescaled(self, c: Encrypted, levels: int) -> Encrypted:
        noise, rows = c.noise, c._rows
        for level in range(c.level, c.level - levels, -1):
            rows = [self._divided(row) for row in rows]
            noise = noise / self._context.primes[level + 1] + self._context.rounding
        for row in rows:
            row.scale = self.scheme.scales[c.level - levels]
        return replace(c, level=c.level - levels, noise=noise, _rows=rows)

    def _divided(self, row: Any) -> Any:
        out = self._context.api.Ciphertext()
        self._context.evaluator.rescale_to_next(row, out)
        return out

    def _plains(self, c: Encrypted, numbers: Floats | float, level: int, scale: float) -> tuple[list[Any], float]:
        """Encode plain operands, one for each row; return them and the largest size in them."""
        self._own(c)
        plain = numbers_of(numbers)
        width = 1 if c.summed else self.scheme.values
        fits = plain.ndim == 0 or (plain.ndim <= 2 and plain.shape[-1] == width)
        if not fits or (plain.ndim == 2 and len(plain) not in (1, len(c))):
            raise Misuse(f"Plain numbers are one, or of shape ({width},) or ({len(c)}, {width}).")
        size = float(np.abs(plain).max(initial=0.0))
        if not size <= 2.0**self.scheme.sum_bits:
            raise Misuse(f"A plain number is not finite or exceeds 2**{self.scheme.sum_bits}.")
        rows = np.broadcast_to(plain, (len(plain) if plain.ndim == 2 else 1, width))
        slots = self.scheme.slots(rows, repeat=c.summed)
        encoded = [self._context.encoded(row, level, scale) for row in slots]
        return encoded * (len(c) // len(encoded)), size

    def _coding(self, level: int, size: float) -> float:
        return self._context.coding(self.scheme.scales[level], size)

    @property
    def _period(self) -> int:
        return 1 << (self.scheme.values - 1).bit_length()

    def _own(self, c: Encrypted) -> None:
        if c.key is not self and c.key.fingerprint != self.fingerprint:
            raise Misuse("These ciphertexts belong to another key.")

    def _same(self, a: Encrypted, b: Encrypted) -> None:
        self._own(a)
        self._own(b)
        if len(a) != len(b) or a.summed != b.summed:
            raise Misuse("Both operands must have as many rows, and be sums or not.")
        if a.level != b.level:
            raise Misuse(f"Operands are at levels {a.level} and {b.level}, so of different scales; use `lower` first.")

    def _levels(self, c: Encrypted, count: int) -> None:
        if c.level < count:
            raise Misuse(f"A product takes {count} levels and {c.level} are left; agree on more levels.")

    def _within(self, bound: float) -> float:
        if not bound <= 2.0**self.scheme.sum_bits:
            raise Misuse(
                f"A number could reach {bound:g}, and 2**{self.scheme.sum_bits} is the limit; use smaller numbers, or "
                "agree on fewer bits or more sum_bits."
            )
        return bound
