"""SEAL's context of a CKKS parameter set: objects in and out as bytes, bounds of noise, flooding.

Bytes. As in `engine.he.sealraw`, residues and seeds alone cross the wire and are put into files that SEAL wrote for us:
a peer sets no level, scale, size or compression. A key-switching key is a list of seeded ciphertexts in one file.

Bounds. Noise v is a polynomial, |v| its 2-norm over coefficients, which is the root mean square of its N complex slots;
so |v w| <= |v| max_slot(w) and max_slot(v) <= sqrt(N) |v|. Errors e have deviation 3.24, secrets s and u are ternary. A
sum of N independent subgaussian terms of deviation d exceeds 10 d sqrt(N) in a slot with probability below 2^-69.
  |e|      <= 1.25 * 3.25 sqrt(N), its mean being 3.24 sqrt(N) and its own deviation below 1% of that
  rounding <= sqrt(N)/2 (1 + max_slot(s)), once for each prime that a ciphertext is divided by
  zero     <= |e| (1 + max_slot(s) + max_slot(u)) / p + rounding, SEAL making it with the next prime p above its level
  switch   <= rounding + sum over primes q_i of |digit| max_slot(e) / p, digits below q_i, p the prime of keys

Flooding (`flood`). F = X1 + X2 + X3 - 3W/2 for each coefficient, X uniform on the reals of [0, W), rounded down; the
integer part of a sum of three fractions is 0, 1, 2 with probability 1/6, 4/6, 1/6, so this is exact. The density of the
sum has Fisher information J = 4.562 / W^2 (W^2 / 4 is its variance). Shifting by b changes its square root by at most
b sqrt(J) / 2 in 2-norm; Hellinger distances of independent coefficients add up in squares, so F + v differs from F by
a statistical distance of at most |v| sqrt(J) / 2 < 1.07 |v| / W. A slot's real part has deviation W/2 sqrt(N/2).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import randomness
from engine.errors import Misuse
from engine.he.sealraw import SEED_BYTES, Frame, memory_file, saved
from engine.he.sharing import divided_product

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Words = NDArray[np.uint64]

DISTANCE = 1.07
"""Statistical distance of flooding for a noise of 2-norm 1 and width 1."""

_HEADER = 16
_FIELDS = 97
_SEEDED = 17  # what stands between residues and seed
_DEVIATION = 3.25
_TAIL = 10.0
_HALF = 58


@lru_cache(maxsize=4)
def context(degree: int, bits: tuple[int, ...]) -> CkksContext:
    """Return the context for N = degree and primes of these sizes; Misuse where this machine or SEAL cannot."""
    try:
        built = CkksContext(degree, bits)
        correct = built.reads_itself()
    except (ImportError, AttributeError, OSError, RuntimeError, ValueError) as cause:
        raise Misuse("CKKS needs Linux, TenSEAL 0.3.16 to 0.3.x, and primes of these sizes to exist.") from cause
    if not correct:
        raise Misuse("This build of TenSEAL computes something else than CKKS expects; pin version 0.3.18.")
    return built


class CkksContext:
    """Data primes are `primes`; ciphertexts of level k are modulo the first k + 2 of them."""

    def __init__(self, degree: int, bits: tuple[int, ...]) -> None:
        from tenseal import sealapi

        self.api: Any = sealapi
        self.degree = degree
        self.slots = degree // 2
        parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.CKKS)
        parameters.set_poly_modulus_degree(degree)
        moduli = sealapi.CoeffModulus.Create(degree, list(bits))
        parameters.set_coeff_modulus(moduli)
        self.seal: Any = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.TC128)
        if not self.seal.parameters_set():
            raise Misuse("SEAL rejects these parameters of CKKS.")
        self.key_primes = [prime.value() for prime in moduli]
        self.primes = self.key_primes[:-1]
        self.top = len(self.primes) - 2
        self.encoder: Any = sealapi.CKKSEncoder(self.seal)
        self.evaluator: Any = sealapi.Evaluator(self.seal)
        self.ids = self._ids()
        self._noise_constants()
        self._learn_frames()

    def _ids(self) -> list[Any]:
        """Return SEAL's names of levels, lowest first."""
        data, ids = self.seal.first_context_data(), []
        for _ in range(self.top + 1):
            ids.append(data.parms_id())
            data = data.next_context_data()
        return ids[::-1]

    def _noise_constants(self) -> None:
        root = math.sqrt(self.degree)
        secret = _TAIL * math.sqrt(2 * self.degree / 3)
        self.fresh = 1.25 * _DEVIATION * root
        self.rounding = root / 2 * (1 + secret)
        self.zero = self.fresh * (1 + 2 * secret) / min(self.key_primes[2:]) + self.rounding
        self._digit: float = _TAIL * _DEVIATION * self.degree * max(self.primes) / self.key_primes[-1]
        self.peak = root  # the largest slot of a noise of 2-norm 1

    def switching(self, level: int) -> float:
        """Return the bound of the noise of one relinearisation or rotation."""
        return (level + 2) * self._digit + self.rounding

    def coding(self, scale: float, size: float) -> float:
        """Return how far a number of up to this size is off in a slot, encoded at this scale from float64."""
        return _TAIL * math.sqrt(self.degree / 12) / scale + 2.0**-44 * size

    def new_keys(self) -> Any:
        return self.api.KeyGenerator(self.seal)

    def encoded(self, slots: Floats, level: int, scale: float) -> Any:
        """Return the plaintext with these numbers in its slots, float64 (slots,)."""
        plain = self.api.Plaintext()
        self.encoder.encode(slots.tolist(), self.ids[level], scale, plain)
        return plain

    def decoded(self, plain: Any) -> Floats:
        return np.array(self.encoder.decode_double(plain))

    @property
    def fresh_bytes(self) -> int:
        """The size of what its owner encrypts: one polynomial modulo all data primes, and a seed."""
        return 8 * len(self.primes) * self.degree + SEED_BYTES

    @property
    def answer_bytes(self) -> int:
        """The size of an answer: two polynomials modulo the lowest two primes."""
        return 32 * self.degree

    def fresh_wire(self, encryptor: Any, plain: Any) -> bytes:
        file = saved(encryptor.encrypt_symmetric(plain), _FIELDS + self.fresh_bytes + _SEEDED)
        return file[_HEADER + _FIELDS : -SEED_BYTES - _SEEDED] + file[-SEED_BYTES:]

    def load_fresh(self, wire: bytes, scale: float) -> Any:
        self.require_reduced(wire[:-SEED_BYTES], self.primes)
        return self._load(self.api.Ciphertext(), self._fresh.around(wire[:-SEED_BYTES], wire[-SEED_BYTES:]), scale)

    def answer_residues(self, ciphertext: Any) -> Words:
        """Return residues (2, 2, N), polynomials by primes, of a ciphertext of level 0, which this changes."""
        self.evaluator.transform_from_ntt_inplace(ciphertext)
        file = saved(ciphertext, _FIELDS + self.answer_bytes)
        return np.frombuffer(file, "<u8", offset=_HEADER + _FIELDS).reshape(2, 2, self.degree).copy()

    def load_answer(self, residues: Words, scale: float) -> Any:
        ciphertext = self._load(self.api.Ciphertext(), self._answer.around(residues.tobytes()), scale)
        self.evaluator.transform_to_ntt_inplace(ciphertext)
        return ciphertext

    def require_reduced(self, wire: bytes, primes: Sequence[int]) -> None:
        """Refuse numbers that are not below their primes; polynomials over these primes, one after the other."""
        words = np.frombuffer(wire, "<u8").reshape(-1, len(primes), self.degree)
        if (words >= np.array(primes, dtype=np.uint64)[:, None]).any():
            raise ValueError("holds a ciphertext with a number out of range")

    @property
    def public_bytes(self) -> int:
        return 16 * len(self.key_primes) * self.degree

    @property
    def switch_bytes(self) -> int:
        """The size of one key-switching key: for each data prime, a polynomial modulo all primes, and a seed."""
        return len(self.primes) * (8 * len(self.key_primes) * self.degree + SEED_BYTES)

    def public_wire(self, keys: Any) -> bytes:
        public = self.api.PublicKey()
        keys.create_public_key(public)
        return saved(public, _FIELDS + self.public_bytes)[_HEADER + _FIELDS :]

    def load_public(self, wire: bytes) -> Any:
        self.require_reduced(wire, self.key_primes)
        if not np.frombuffer(wire, "<u8").reshape(2, -1, self.degree)[1].any(axis=1).all():
            raise ValueError("sent a key without randomness")
        return self._load(self.api.PublicKey(), self._public.around(wire))

    def relin_wire(self, keys: Any) -> bytes:
        return self._stripped(keys.create_relin_keys(), *self._switch_parts(1, [0]))

    def load_relin(self, wire: bytes) -> Any:
        return self._load(self.api.RelinKeys(), self._filled(wire, *self._switch_parts(1, [0])))

    def rotation_wire(self, keys: Any, steps: Sequence[int]) -> bytes:
        elements = self._elements(steps)
        return self._stripped(keys.create_galois_keys(elements), *self._switch_parts(self.degree, elements))

    def load_rotations(self, wire: bytes, steps: Sequence[int]) -> Any:
        return self._load(
            self.api.GaloisKeys(), self._filled(wire, *self._switch_parts(self.degree, self._elements(steps)))
        )

    def _elements(self, steps: Sequence[int]) -> list[int]:
        return [pow(3, step, 2 * self.degree) for step in steps]

    def _switch_parts(self, length: int, elements: Sequence[int]) -> tuple[list[bytes], bytes]:
        """Return what stands in a file of keys before each of its ciphertexts, and after the last."""
        chosen = {element >> 1 for element in elements}
        parts, run = [], bytearray(self._switch_head + struct.pack("<Q", length))
        for index in range(length):
            count = len(self.primes) if index in chosen else 0
            run += struct.pack("<Q", count)
            for _ in range(count):
                parts.append(bytes(run) + self._switch.before)
                run = bytearray()
        return parts, bytes(run)

    def _stripped(self, serializable: Any, parts: list[bytes], end: bytes) -> bytes:
        words = 8 * len(self.key_primes) * self.degree
        file = saved(serializable, sum(map(len, parts)) + len(parts) * (words + _SEEDED + SEED_BYTES) + len(end))
        at, out = _HEADER, []
        for part in parts:
            at += len(part)
            out += [file[at : at + words], file[at + words + _SEEDED : at + words + _SEEDED + SEED_BYTES]]
            at += words + _SEEDED + SEED_BYTES
        return b"".join(out)

    def _filled(self, wire: bytes, parts: list[bytes], end: bytes) -> bytes:
        size = len(wire) // len(parts)
        out = [b""]
        for i, part in enumerate(parts):
            one = wire[i * size : (i + 1) * size]
            self.require_reduced(one[:-SEED_BYTES], self.key_primes)
            out += [part, one[:-SEED_BYTES], self._switch.after, one[-SEED_BYTES:]]
        out.append(end)
        out[0] = self._version + struct.pack("<Q", _HEADER + sum(map(len, out)))
        return b"".join(out)

    def reads_itself(self) -> bool:
        """Say whether a ciphertext comes through both wire forms."""
        secret, plain = self.new_keys().secret_key(), self.api.Plaintext()
        wire = self.fresh_wire(
            self.api.Encryptor(self.seal, secret), self.encoded(np.full(self.slots, 0.5), self.top, 2.0**30)
        )
        ciphertext = self.load_fresh(wire, 2.0**30)
        self.evaluator.mod_switch_to_inplace(ciphertext, self.ids[0])
        self.api.Decryptor(self.seal, secret).decrypt(
            self.load_answer(self.answer_residues(ciphertext), 2.0**30), plain
        )
        return bool(np.abs(self.decoded(plain) - 0.5).max() < 2.0**-10)

    def _learn_frames(self) -> None:
        keys = self.new_keys()
        encryptor = self.api.Encryptor(self.seal, keys.secret_key())
        plain = self.encoded(np.zeros(self.slots), self.top, 2.0**30)
        file = saved(encryptor.encrypt_symmetric(plain), _FIELDS + self.fresh_bytes + _SEEDED)
        self._version = file[:8]
        self._fresh = Frame(file[: _HEADER + _FIELDS], file[-SEED_BYTES - _SEEDED : -SEED_BYTES])
        full = self.api.Ciphertext()
        encryptor.encrypt_symmetric(self.encoded(np.zeros(self.slots), 0, 2.0**30), full)
        self.evaluator.transform_from_ntt_inplace(full)
        self._answer = Frame(saved(full, _FIELDS + self.answer_bytes)[: _HEADER + _FIELDS])
        public = self.api.PublicKey()
        keys.create_public_key(public)
        self._public = Frame(saved(public, _FIELDS + self.public_bytes)[: _HEADER + _FIELDS])
        one = _HEADER + _FIELDS + 8 * len(self.key_primes) * self.degree + _SEEDED + SEED_BYTES
        file = saved(keys.create_relin_keys(), 48 + len(self.primes) * one)[_HEADER:]
        self._switch_head = file[:32]
        first = file[48 : 48 + one]
        self._switch = Frame(first[: _HEADER + _FIELDS], first[-SEED_BYTES - _SEEDED : -SEED_BYTES])

    def _load(self, thing: Any, file: bytes, scale: float = 0.0) -> Any:
        with memory_file(file) as (_, path):
            thing.load(self.seal, path)
        if scale:
            thing.scale = scale
        return thing

    def flood(self, bits: int) -> Words:
        """Return fresh noise of width 2**bits, 1 <= bits <= 116, as residues (2, N) modulo the lowest two primes."""
        low_bits, high_bits = min(bits, _HALF), max(bits - _HALF, 0)
        words = randomness.random_words((2, 3, self.degree))
        low = (words[0] >> np.uint64(64 - low_bits)).sum(axis=0, dtype=np.uint64)
        high = (words[1] & np.uint64((1 << high_bits) - 1)).sum(axis=0, dtype=np.uint64)
        low += np.array([0, 1, 1, 1, 1, 2], dtype=np.uint64)[randomness.random_below(6, self.degree)]
        out = np.empty((2, self.degree), dtype=np.uint64)
        for row, p in zip(out, self.primes, strict=False):
            back = np.uint64(p - (3 << bits - 1) % p)
            row[:] = (low % np.uint64(p) + divided_product(high, (1 << _HALF) % p, p)[1] + back) % np.uint64(p)
        return out
