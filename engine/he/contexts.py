"""SEAL's contexts of the `rlwe` scheme, and the steps of arithmetic on its objects.

Receivers encrypt and decrypt in one context per plaintext prime. Senders compute in a context of their own, whose
modulus matters for one thing only, how plaintexts lift to the coefficient primes: below 2^45 as they are, so slot
factors of either prime fit; 2^46 - x as -x. So one transformed tile serves ciphertexts of both plaintext primes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import randomness
from engine.he.encoding import SLOTS, Words
from engine.he.sealraw import SEED_BYTES, Context

PRIMES = (35184371613697, 35184371417089)
_LIFT = 1 << 46


class Contexts:
    """The contexts of one process, shared by all schemes in it; `lanes` are those of the plaintext primes."""

    def __init__(self) -> None:
        self.lanes = tuple(Context(prime) for prime in PRIMES)
        self.compute = Context(_LIFT)
        self._encoders = tuple(lane.api.BatchEncoder(lane.seal) for lane in self.lanes)
        self._evaluator = self.compute.evaluator
        self.primes = np.array(self.compute.primes, dtype=np.uint64)[:, None]
        self.answer_primes = (self.compute.primes[0], self.compute.primes[1])

    def encoded(self, lane: int, slots: Words) -> Any:
        """Return the plaintext with these values in its slots, shape (SLOTS,)."""
        plain = self.compute.api.Plaintext()
        self._encoders[lane].encode(slots.tolist(), plain)
        return plain

    def decoded(self, lane: int, plain: Any) -> Words:
        return np.array(self._encoders[lane].decode_uint64(plain), dtype=np.uint64)

    def lifted(self, signed: NDArray[np.int64], level: int = 0) -> Any | None:
        """Return small signed coefficients (SLOTS,) as a factor of products; None where all are zero.

        SEAL refuses to multiply by zero, since no randomness would be left in the product.
        """
        if not signed.any():
            return None
        plain = self.compute.load_plain(np.where(signed < 0, signed + _LIFT, signed).view(np.uint64))
        return self._transformed(plain, level)

    def slot_factor(self, lane: int, slots: Words) -> Any | None:
        """Return slot values as a factor of products; None where all are zero."""
        return self._transformed(self.encoded(lane, slots), 0) if slots.any() else None

    def _transformed(self, plain: Any, level: int) -> Any:
        out = self.compute.api.Plaintext()
        self._evaluator.transform_to_ntt(plain, self.compute.levels[level], out)
        return out

    def received(self, wire: NDArray[np.uint8], level: int = 0) -> Any:
        """Check and load one seeded ciphertext of the right size, transformed for products."""
        self.require_reduced(wire[:-SEED_BYTES].view("<u8").reshape(-1, SLOTS))
        ciphertext = self.compute.load_seeded(wire.tobytes(), level)
        self._evaluator.transform_to_ntt_inplace(ciphertext)
        return ciphertext

    def require_reduced(self, residues: Words) -> None:
        """Refuse numbers that have another, shorter spelling; residues (..., primes, any)."""
        if (residues >= self.primes[: residues.shape[-2]]).any():
            raise ValueError("holds a ciphertext with a number out of range")

    def plus_product(self, total: Any | None, ciphertext: Any, plain: Any | None) -> Any | None:
        """Return total + ciphertext * plain, changing `total`; None stands for zero."""
        if plain is None:
            return total
        product = self.compute.api.Ciphertext()
        self._evaluator.multiply_plain(ciphertext, plain, product)
        if total is None:
            return product
        self._evaluator.add_inplace(total, product)
        return total

    def rerandomised(self, total: Any | None, zero: Any) -> Words:
        """Return the residues (2, 2, SLOTS) of total, switched down, plus zero * u for a fresh uniform ternary u."""
        ternary = randomness.random_below(3, SLOTS).astype(np.int64) - 1
        fresh = self.plus_product(None, zero, self.lifted(ternary, 1))
        self._evaluator.transform_from_ntt_inplace(fresh)
        if total is not None:
            self._evaluator.transform_from_ntt_inplace(total)
            self._evaluator.mod_switch_to_next_inplace(total)
            self._evaluator.add_inplace(fresh, total)
        return self.compute.answer_residues(fresh)
