"""Paillier encryption of whole arrays (EUROCRYPT 1999, with g = n + 1), keys and ciphertexts those of `phe`.

A ciphertext of m is (1 + m * n) * rho mod n**2 with rho an n-th residue. What rho is:

    encrypt       h_s**e, h_s = h**n, h = -x**2, e short (Damgard, Jurik, Nielsen, 2010, section 4.2)
    rerandomise   h_s**e', e' of 128 bits more than n: within 2**-128 of uniform in the group that h_s generates
    without h_s   r**n for rerandomise, an own h_s for encrypt: keys that come from `phe` have none

Assumptions: composite residuosity modulo n**2 for all of it; for short exponents (224, 256, 320 bits for keys of 2048,
3072, 4096) also that h_s**e cannot be told from a uniform power of h_s, where exponents of twice the security level are
what discrete logarithms ask for. Re-randomised answers need no such assumption towards the key owner, who knows every
exponent that it chose and could test guesses; it proves with its key that h_s is an n-th residue (`_Proof`). Owners are
semi-honest: nothing here proves that n has two prime factors, or that a ciphertext was formed in the group of h_s.

Exponents are secret and used in constant time (`engine.kernels.montgomery`); inverses and the last steps of decryption
are Python integers, whose time depends a little on the values.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine import randomness
from engine.errors import Misuse
from engine.he import packing
from engine.he.additive import Bytes, Numbers, Places
from engine.he.packing import Lanes
from engine.he.primes import has_small_factor, random_below, random_prime
from engine.he.secret import Secret
from engine.kernels.lists import check_lists
from engine.kernels.montgomery import FixedBase, Modulus, SquareModulus, Words, from_bytes, to_bytes
from engine.kernels.sums import segment_sums
from engine.kernels.weighted import magnitudes, power_products_vartime

__all__ = ["Ciphertexts", "Paillier", "PaillierPublicKey", "PaillierSecretKey"]

SECURITY = {2048: 112, 3072: 128, 4096: 152}
_EXPONENT = {2048: 224, 3072: 256, 4096: 320}
_INT64 = 2**63 - 1
_CHALLENGE = 16
_STATISTICAL = 128
_EXPONENTS = 1 << 12  # of received ciphertexts; floats have some hundreds


@dataclass(frozen=True)
class Ciphertexts:
    """An array of ciphertexts of one key. Values are integers times 16**exponent, exponent and bound public."""

    n: int  # of the key
    rows: Words  # modulo n**2 in Montgomery form
    bound: int  # no integer inside exceeds it
    exponent: int = 0
    fresh: bool = False  # the randomness is this party's own and used nowhere else

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: slice | NDArray[np.integer] | NDArray[np.bool_]) -> Ciphertexts:
        """Return some of them; they may repeat, so they are not fresh."""
        return replace(self, rows=np.ascontiguousarray(self.rows[which]), fresh=False)


class Paillier:
    """The scheme, for keys of 2048, 3072 or 4096 bits (112, 128, 152 bits of security)."""

    name = "paillier"
    networked = True

    def __init__(self, bits: int = 3072) -> None:
        _require_size(bits)
        self.bits = bits
        self.security_bits = SECURITY[bits]

    def key(self) -> PaillierSecretKey:
        """Return a fresh key; takes a second or two."""
        while True:
            p, q = random_prime(self.bits // 2), random_prime(self.bits // 2)
            if (
                abs(p - q) >> self.bits // 2 - 100
                and math.gcd(p - 1, q - 1) == 2
                and math.gcd(p * q, (p - 1) * (q - 1)) == 1
            ):
                return PaillierSecretKey(p, q)

    def peer(self, public: Bytes) -> PaillierPublicKey:
        """Check and read the `public` bytes of a peer's key; ValueError where they are none of this size."""
        size = self.bits // 8
        if public.dtype != np.uint8 or public.shape != (4 * size + _CHALLENGE,):
            raise ValueError("sent a key of another size")
        n, base, challenge, answer = (
            int.from_bytes(part.tobytes(), "big") for part in np.split(public, [size, 3 * size, 3 * size + _CHALLENGE])
        )
        if n.bit_length() != self.bits:
            raise ValueError("sent a key of another size")
        if has_small_factor(n):
            raise ValueError("sent a key that is no product of two large primes")
        if not 1 < base < n * n - 1 or math.gcd(base, n) != 1 or not _Proof(challenge, answer).holds(n, base):
            raise ValueError("sent a key without the proof that belongs to it")
        return PaillierPublicKey(n, base, _Proof(challenge, answer))


@dataclass(frozen=True)
class _Proof:
    """That the owner knows an n-th root of h_s: Schnorr's protocol, the challenge a hash (Fiat, Shamir).

    With a = s**n, challenge c and z = s * h**c mod n: z**n = a * h_s**c mod n**2.
    """

    challenge: int
    answer: int

    @staticmethod
    def make(n: int, root: int, base: int) -> _Proof:
        secret = 1 + random_below(n - 1)
        challenge = _Proof._hash(n, base, pow(secret, n, n * n))
        return _Proof(challenge, secret * pow(root, challenge, n) % n)

    def holds(self, n: int, base: int) -> bool:
        if not 0 < self.answer < n:
            return False
        first = pow(self.answer, n, n * n) * pow(base, -self.challenge, n * n) % (n * n)
        return self._hash(n, base, first) == self.challenge

    @staticmethod
    def _hash(n: int, base: int, first: int) -> int:
        size = -(-n.bit_length() // 8)
        text = n.to_bytes(size, "big") + base.to_bytes(2 * size, "big") + first.to_bytes(2 * size, "big")
        return int.from_bytes(hashlib.sha512(b"synergos paillier key v1" + text).digest()[:_CHALLENGE], "big")


class PaillierPublicKey:
    """What computes with ciphertexts. Without `base` (h_s) it is a key of `phe`, and re-randomising takes longer."""

    def __init__(self, n: int, base: int | None = None, proof: _Proof | None = None) -> None:
        _require_size(n.bit_length())
        self.n = n
        self.bits = n.bit_length()
        self.limit = n // 3 - 1  # as `phe` has it: what lies between limit and n - limit is an overflow
        self.modulus = SquareModulus(n)
        self._base = base
        self._proof = proof
        self._without_offset = self.modulus.constant(1 - (n << 63))

    @property
    def size(self) -> int:
        """Bytes of a ciphertext on the wire."""
        return self.bits // 4

    @property
    def public(self) -> Bytes:
        """What a peer needs (`Paillier.peer`): n, h_s and its proof, big-endian. Misuse for a key of `phe`."""
        if self._base is None or self._proof is None:
            raise Misuse("A key that came from phe holds n alone; send that.")
        parts = ((self.n, 1), (self._base, 2))
        text = b"".join(number.to_bytes(times * self.bits // 8, "big") for number, times in parts)
        text += self._proof.challenge.to_bytes(_CHALLENGE, "big") + self._proof.answer.to_bytes(self.bits // 8, "big")
        return np.frombuffer(text, dtype=np.uint8)

    def encrypt(self, values: Numbers, bound: int | None = None, precision: float | None = None) -> Ciphertexts:
        """Encrypt integers, or floats as integers times a power of 16 (see `packing.encode`), shape (n,).

        `bound` is public and says what values may reach: by default the range of int64, for other integers and floats
        the largest magnitude there is. Raises Misuse for values beyond it, or beyond a third of n.
        """
        return self.encrypt_with(self._randomness, values, bound, precision)

    def encrypt_with(
        self, randomness: Callable[[int], Words], values: Numbers, bound: int | None, precision: float | None
    ) -> Ciphertexts:
        """Encrypt with n-th residues from elsewhere, fresh ones: the key owner makes them faster."""
        integers, exponent = self._integers(values, precision)
        bound = self._checked(bound, integers)
        rows = self.modulus.multiply(self._plaintexts(integers), randomness(len(integers)))
        return Ciphertexts(self.n, rows, bound, exponent, fresh=True)

    def add(self, a: Ciphertexts, b: Ciphertexts) -> Ciphertexts:
        """Add up pair by pair; one of a single value is added to all."""
        a, b = self._aligned(a, b)
        bound = self._within(a.bound + b.bound)
        return Ciphertexts(self.n, self.modulus.multiply(a.rows, b.rows), bound, a.exponent)

    def subtract(self, a: Ciphertexts, b: Ciphertexts) -> Ciphertexts:
        """Subtract pair by pair."""
        return self.add(a, self.negate(b))

    def negate(self, a: Ciphertexts) -> Ciphertexts:
        """Return encryptions of the negated values."""
        return replace(a, rows=self.modulus.invert(self._own(a)), fresh=False)

    def times(self, a: Ciphertexts, scalars: Numbers, precision: float | None = None) -> Ciphertexts:
        """Multiply by plain integers or floats, (n,) or a single one for all; time depends on the largest magnitude.

        Signs cost an inversion of all rows, so unsigned integers are faster.
        """
        scalars = np.atleast_1d(packing.as_numbers(scalars))
        if len(scalars) not in (1, len(a)):
            raise Misuse("Ciphertexts are multiplied by as many scalars as there are, or by one.")
        integers, exponent = self._integers(scalars, precision)
        sizes = magnitudes(integers)
        bound = self._within(a.bound * int(sizes.max(initial=0)))
        rows = self._own(a)
        if integers.dtype.kind != "u":
            negative = np.broadcast_to(np.asarray(integers < 0, dtype=np.bool_), len(a))
            rows = np.where(negative[:, None], self.modulus.invert(rows), rows)
        return Ciphertexts(self.n, self.modulus.powers(rows, _exponent_bytes(sizes)), bound, a.exponent + exponent)

    def sum_by_list(self, a: Ciphertexts, offsets: Places, members: Places) -> Ciphertexts:
        """Return the sum of a[members[offsets[i]:offsets[i + 1]]] for each i, an unhidden 0 for none."""
        offsets, members = check_lists(offsets, members, len(a))
        bound = self._within(a.bound * int(np.diff(offsets).max(initial=0)))
        rows = self.modulus.product_by_list(self._own(a), offsets, members)
        return Ciphertexts(self.n, rows, bound, a.exponent)

    def weighted_sum_by_list_vartime(
        self, a: Ciphertexts, offsets: Places, members: Places, weights: Numbers, precision: float | None = None
    ) -> Ciphertexts:
        """Return the sum of weights[j] * a[members[j]] over each list, j from offsets[i] to offsets[i + 1].

        weights: plain integers or floats, one a member, as `times` takes them; for long lists many times faster than
        that. **Time and memory accesses depend on the weights**: for weights that are public, or where nobody watches
        how long this takes; others are for `times`. The sum is not hidden until it is re-randomised. Raises Misuse for
        lists that are none, another number of weights, and sums that might overflow, before any work.
        """
        rows = self._own(a)
        offsets, members = check_lists(offsets, members, len(a))
        integers, exponent = self._integers(weights, precision)
        if len(integers) != len(members):
            raise Misuse("Each member of a list has a weight.")
        bound = self._within(a.bound * _largest_sum(magnitudes(integers), offsets))
        found = power_products_vartime(self.modulus, rows, offsets, members, integers)
        return Ciphertexts(self.n, found, bound, a.exponent + exponent)

    def compress(self, a: Ciphertexts, lanes: Lanes) -> Ciphertexts:
        """Put each `lanes.count` neighbours into one, the first in the lowest lane (Horner's rule); the last is padded.

        Raises Misuse where the values may not fit in the lanes, or the lanes in a plaintext.
        """
        if a.bound > lanes.bound:
            raise Misuse(
                f"Values that may reach {a.bound.bit_length()} bits do not fit in lanes of {lanes.width} bits."
            )
        bound = self._within(1 << lanes.width * lanes.count - 1)
        padding = np.repeat(self.modulus.one, -len(a) % lanes.count, axis=0)
        groups = np.concatenate([self._own(a), padding]).reshape(-1, lanes.count, self.modulus.words)
        total = np.ascontiguousarray(groups[:, -1])
        for lane in range(lanes.count - 2, -1, -1):
            total = self.modulus.multiply(
                self.modulus.square(total, lanes.width), np.ascontiguousarray(groups[:, lane])
            )
        return Ciphertexts(self.n, total, bound, a.exponent)

    def lanes(self, width: int) -> Lanes:
        """Return as many lanes of this width as fit in a plaintext."""
        return Lanes(width, (self.limit.bit_length() - 1) // max(width, 1))

    def shifted(self, a: Ciphertexts, factors: Sequence[int]) -> Ciphertexts:
        """Multiply by public positive integers without a change of the exponent: what brings values to a lower one."""
        bound = self._within(a.bound * max(factors, default=1))
        sizes = np.array(factors, dtype=object)
        return Ciphertexts(self.n, self.modulus.powers(self._own(a), _exponent_bytes(sizes)), bound, a.exponent)

    def rerandomise(self, a: Ciphertexts) -> Ciphertexts:
        """Return encryptions of the same values with fresh randomness.

        Where the key has an h_s, the randomness of what is given must lie in its group, as that of all ciphertexts made
        with such a key does; of others, those of `phe` say, a coset of the group would still show.
        """
        return replace(a, rows=self.modulus.multiply(self._own(a), self._full_randomness(len(a))), fresh=True)

    def to_bytes(self, a: Ciphertexts) -> Bytes:
        """Return ciphertexts in big-endian bytes, (n, size), re-randomised unless they are fresh."""
        return self.modulus.leave(self._own(a if a.fresh else self.rerandomise(a)))

    def from_bytes(self, data: Bytes, bound: int = _INT64 + 1, exponent: int = 0) -> Ciphertexts:
        """Check and read (n, size) bytes: numbers below n**2 that are invertible, else ValueError.

        So is an exponent beyond those of any float.
        """
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != self.size:
            raise ValueError("holds ciphertexts of another size")
        if abs(exponent) > _EXPONENTS:
            raise ValueError("holds an exponent out of range")
        if not _all_below(data, self.n * self.n):
            raise ValueError("holds a ciphertext out of range")
        rows = self.modulus.enter(data)
        if not self.modulus.coprime(rows):
            raise ValueError("holds a ciphertext that is not invertible")
        return Ciphertexts(self.n, rows, self._within(bound), exponent)

    def _own(self, a: Ciphertexts) -> Words:
        if a.n != self.n:
            raise Misuse("Ciphertexts belong to the key that they were made with; these are another's.")
        return a.rows

    def _integers(self, values: Numbers, precision: float | None) -> tuple[Numbers, int]:
        values = packing.as_numbers(values)
        if values.ndim != 1 or values.dtype.kind not in "iufO":
            raise Misuse("Values are an array of integers or floats of shape (n,).")
        if values.dtype.kind == "f":
            return packing.encode(values.astype(np.float64), precision)
        return values, 0

    def _checked(self, bound: int | None, integers: Numbers) -> int:
        largest = int(magnitudes(integers).max(initial=0))
        if bound is None:
            bound = _INT64 + 1 if integers.dtype.kind == "i" else largest
        if largest > bound:
            raise Misuse("A value exceeds the bound that was given for it.")
        return self._within(bound)

    def _within(self, bound: int) -> int:
        if bound < 0:
            raise Misuse("The bound of values is 0 or more.")
        if bound > self.limit:
            raise Misuse(f"Values may reach {bound.bit_length()} bits, too many for a key of {self.bits} bits.")
        return bound

    def _plaintexts(self, integers: Numbers) -> Words:
        """Return 1 + m * n for each m; int64 go in as m + 2**63, which is never negative."""
        if integers.dtype.kind != "i":
            return self.modulus.one_plus_multiples(to_bytes([int(m) % self.n for m in integers], self.bits // 8))
        shifted = integers.astype(np.int64).view(np.uint64) ^ np.uint64(1 << 63)
        raised = self.modulus.one_plus_multiples(shifted.astype(">u8").view(np.uint8).reshape(-1, 8))
        return self.modulus.multiply(raised, self._without_offset)

    def _randomness(self, count: int) -> Words:
        return self.modulus.fixed_powers(self._short, _random_exponents(count, self._short.bits))

    def _full_randomness(self, count: int) -> Words:
        if self._base is None:
            roots = [1 + random_below(self.n - 1) for _ in range(count)]
            return self.modulus.power(self.modulus.enter_integers(roots), self.n)
        return self.modulus.fixed_powers(self._long, _random_exponents(count, self._long.bits))

    @cached_property
    def base(self) -> int:
        """h_s: the published one, else one of this party's own making."""
        if self._base is not None:
            return self._base
        return pow(-pow(1 + random_below(self.n - 1), 2, self.n), self.n, self.n * self.n)

    @cached_property
    def _short(self) -> FixedBase:
        return self.modulus.fixed_base(self.modulus.constant(self.base), _EXPONENT[self.bits])

    @cached_property
    def _long(self) -> FixedBase:
        return self.modulus.fixed_base(self.modulus.constant(self.base), self.bits + _STATISTICAL)

    def _aligned(self, a: Ciphertexts, b: Ciphertexts) -> tuple[Ciphertexts, Ciphertexts]:
        """Bring both to the lower exponent."""
        self._own(a), self._own(b)
        low = min(a.exponent, b.exponent)
        return self._at_exponent(a, low), self._at_exponent(b, low)

    def _at_exponent(self, a: Ciphertexts, exponent: int) -> Ciphertexts:
        steps = a.exponent - exponent
        if steps == 0:
            return a
        bound = self._within(a.bound * packing.BASE ** min(steps, self.bits))  # more are too many in any case
        return Ciphertexts(self.n, self.modulus.square(a.rows, 4 * steps), bound, exponent)


class PaillierSecretKey(Secret):
    """The owner's key: decrypts, and encrypts faster than others can. Never leaves its party.

    p and q are primes, 3 mod 4 in keys that `Paillier` makes. `own=False` makes the key of `phe`: no h_s is published.
    """

    def __init__(self, p: int, q: int, own: bool = True) -> None:
        self._p, self._q = p, q
        n = p * q
        root = -pow(1 + random_below(n - 1), 2, n) % n
        base = pow(root, n, n * n)
        self.public = PaillierPublicKey(n, base, _Proof.make(n, root, base)) if own else PaillierPublicKey(n)
        self._halves = (_Half(p, q), _Half(q, p))
        self._q_inverse = pow(q, -1, p)

    def __repr__(self) -> str:
        return f"PaillierSecretKey(bits={self.public.bits})"

    @property
    def primes(self) -> tuple[int, int]:
        """The secret itself."""
        return self._p, self._q

    def encrypt(self, values: Numbers, bound: int | None = None, precision: float | None = None) -> Ciphertexts:
        """As `PaillierPublicKey.encrypt`, modulo p**2 and q**2."""
        return self.public.encrypt_with(self._randomness, values, bound, precision)

    def _randomness(self, count: int) -> Words:
        exponents = _random_exponents(count, _EXPONENT[self.public.bits])
        left, right = (half.base_powers(self.public.base, exponents) for half in self._halves)
        p, q = (half.modulus for half in self._halves)
        return self.public.modulus.combine(left, p, right, q)

    def decrypt(self, a: Ciphertexts) -> Numbers:
        """Return the values: int64 where the bound says that they fit, else Python integers; floats at an exponent.

        Raises ValueError where a value exceeds its bound.
        """
        integers = self.decrypt_integers(a)
        if a.exponent:
            return packing.decode(np.array(integers, dtype=object), a.exponent)
        narrow = a.bound <= _INT64 + 1 and max(integers, default=0) <= _INT64
        return np.array(integers, dtype=np.int64 if narrow else object)

    def decrypt_lanes(self, a: Ciphertexts, lanes: Lanes, count: int) -> Numbers:
        """Return the first `count` values of what `PaillierPublicKey.compress` put together."""
        if len(a) != -(-count // lanes.count):
            raise ValueError("holds another number of values than agreed")
        values = lanes.unpack(self.decrypt_integers(a)).reshape(-1)[:count]
        return packing.decode(values.astype(object), a.exponent) if a.exponent else values

    def decrypt_integers(self, a: Ciphertexts) -> list[int]:
        """Return the integers that are inside, the exponent left aside."""
        n, source = self.public.n, self.public.modulus
        if a.n != n:
            raise Misuse("Ciphertexts can be decrypted with the key that they were made for; this is another.")
        modulo_p, modulo_q = (half.decrypt(a.rows, source) for half in self._halves)
        found = []
        for mp, mq in zip(modulo_p, modulo_q, strict=True):
            m = mq + self._q * ((mp - mq) * self._q_inverse % self._p)
            m -= n if m > n // 2 else 0
            if abs(m) > a.bound:
                raise ValueError("holds a value beyond the bound of its protocol")
            found.append(m)
        return found


class _Half:
    """What is computed modulo p**2, at a quarter of the cost of n**2."""

    def __init__(self, p: int, other: int) -> None:
        self.p = p
        self.modulus = SquareModulus(p)
        self._table: FixedBase | None = None
        self._scale = pow(-other, -1, p)  # (1 + n)**(p - 1) = 1 - other * p

    def base_powers(self, base: int, exponents: Bytes) -> Words:
        """Return powers of h_s modulo p**2; its table is made once."""
        if self._table is None:
            self._table = self.modulus.fixed_base(self.modulus.constant(base), 8 * exponents.shape[1])
        return self.modulus.fixed_powers(self._table, exponents)

    def decrypt(self, rows: Words, source: Modulus) -> list[int]:
        powers = self.modulus.power(self.modulus.convert(rows, source), self.p - 1)
        return [m * self._scale % self.p for m in from_bytes(self.modulus.multiples(powers))]


def _require_size(bits: int) -> None:
    if bits not in SECURITY:
        raise Misuse(f"Paillier keys have {', '.join(map(str, SECURITY))} bits; 3072 is the default.")


def _largest_sum(sizes: Numbers, offsets: Places) -> int:
    """Return the largest sum of a list of sizes, exactly."""
    if sizes.dtype.kind == "O":
        return max((int(sum(sizes[s:e])) for s, e in pairwise(offsets)), default=0)
    words = sizes.astype(np.uint64)
    halves = np.stack([words & np.uint64(2**32 - 1), words >> np.uint64(32)], axis=1)
    totals = segment_sums(halves.view(np.int64), offsets)
    return max((int(low) + (int(high) << 32) for low, high in totals), default=0)


def _exponent_bytes(sizes: Numbers) -> Bytes:
    if sizes.dtype.kind == "u":
        return sizes.astype(">u8").view(np.uint8).reshape(-1, 8)
    width = max(1, -(-int(sizes.max(initial=0)).bit_length() // 8))
    return to_bytes([int(size) for size in sizes], width)


def _random_exponents(count: int, bits: int) -> Bytes:
    """Return secret uniform exponents of at most `bits` bits, rounded down to bytes."""
    width = bits // 8
    return randomness.random_bytes(count * width).reshape(count, width)


def _all_below(rows: Bytes, bound: int) -> bool:
    """Say whether all big-endian rows are below the bound: compared as strings of bytes."""
    width = rows.shape[1]
    return bool((np.ascontiguousarray(rows).view(f"S{width}") < bound.to_bytes(width, "big")).all())
