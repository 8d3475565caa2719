"""SEAL's polynomials as arrays of residues, in and out, at the speed of a copy.

The Python face of SEAL takes coefficients one by one or as text, 10 ms a polynomial. It also loads and saves files;
so an object is built as the bytes of an uncompressed SEAL file and loaded from an anonymous memory file: 0.05-0.15
ms. Nothing touches a disk. A file is a 16-byte header (u16 magic, u8 header size, u8 major, u8 minor, u8 compression,
u16 0, u64 total bytes), a fixed description (parms_id, sizes, scale), the residues as little-endian u64, polynomial
by polynomial and prime by prime; a seeded ciphertext holds its first polynomial and then the generator's kind and
seed for the second. We learn all but residues and seed from objects that SEAL itself saves, and those bytes alone
cross the wire: a peer cannot set a level, a size or a compression.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.he.encoding import SLOTS

Words = NDArray[np.uint64]

COEFFICIENT_BITS = (60, 60, 60, 30)
SEED_BYTES = 64
_HEADER = 16
_PLAIN_FIELDS = 72
_CIPHER_FIELDS = 97
_GENERATOR_FIELDS = 17


@contextmanager
def memory_file(content: bytes = b"") -> Iterator[tuple[int, str]]:
    """Give a file that exists in memory only, as descriptor and path; a new one each time: threads share none."""
    descriptor = os.memfd_create("polynomial")
    try:
        if content:
            os.write(descriptor, content)
        yield descriptor, f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def saved(thing: Any, body: int) -> bytes:
    """Return the file of a SEAL object as it would be without compression; `body` is its size without the header."""
    with memory_file() as (descriptor, path):
        thing.save(path)
        stored = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    unpacked = _zstd().decompress(memoryview(stored)[_HEADER:], decompressed_size=body)
    return stored[:5] + bytes(3) + (_HEADER + body).to_bytes(8, "little") + bytes(unpacked)


@lru_cache(maxsize=1)
def _zstd() -> Any:
    from pyarrow import Codec

    return Codec("zstd")


@dataclass(frozen=True)
class Frame:
    """What SEAL writes before and after the residues of one kind of object."""

    before: bytes
    after: bytes = b""

    def around(self, residues: bytes, seed: bytes = b"") -> bytes:
        return b"".join((self.before, residues, self.after, seed))


class Context:
    """SEAL's context for one plaintext modulus, at 128-bit security, with the frames of what is loaded into it.

    `levels[0]` is where ciphertexts are encrypted and multiplied, with three primes; `levels[1]` is where answers are
    given, with the first two. Raises Misuse if SEAL rejects the parameters.
    """

    def __init__(self, plain_modulus: int) -> None:
        from tenseal import sealapi

        parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.BFV)
        parameters.set_poly_modulus_degree(SLOTS)
        primes = sealapi.CoeffModulus.Create(SLOTS, list(COEFFICIENT_BITS))
        parameters.set_coeff_modulus(primes)
        parameters.set_plain_modulus(plain_modulus)
        self.api: Any = sealapi
        self.seal: Any = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.TC128)
        if not self.seal.parameters_set():
            raise Misuse("SEAL rejects the parameters of the rlwe scheme; reinstall TenSEAL at the pinned version.")
        data = self.seal.first_context_data()
        self.levels: tuple[Any, Any] = (data.parms_id(), data.next_context_data().parms_id())
        self.primes: tuple[int, ...] = tuple(prime.value() for prime in primes[:3])
        self.evaluator: Any = sealapi.Evaluator(self.seal)
        self._plain = Frame(saved(sealapi.Plaintext(SLOTS), _PLAIN_FIELDS + 8 * SLOTS)[: _HEADER + _PLAIN_FIELDS])
        self._full = self._frame_of_answers()
        self._seeded = (self._frame_of_seeded(0), self._frame_of_seeded(1))

    def _frame_of_answers(self) -> Frame:
        sample = self.api.Ciphertext()
        sample.resize(self.seal, self.levels[1], 2)
        return Frame(saved(sample, _CIPHER_FIELDS + 2 * 2 * 8 * SLOTS)[: _HEADER + _CIPHER_FIELDS])

    def _frame_of_seeded(self, level: int) -> Frame:
        sample = self.encryptor(self.new_secret_key()).encrypt_zero_symmetric(self.levels[level])
        file = self._saved_seeded(sample, level)
        return Frame(file[: _HEADER + _CIPHER_FIELDS], file[-SEED_BYTES - _GENERATOR_FIELDS : -SEED_BYTES])

    def _saved_seeded(self, serializable: Any, level: int) -> bytes:
        return saved(serializable, _CIPHER_FIELDS + 8 * (3 - level) * SLOTS + _GENERATOR_FIELDS + SEED_BYTES)

    def new_secret_key(self) -> Any:
        return self.api.KeyGenerator(self.seal).secret_key()

    def encryptor(self, secret_key: Any) -> Any:
        return self.api.Encryptor(self.seal, secret_key)

    def decryptor(self, secret_key: Any) -> Any:
        return self.api.Decryptor(self.seal, secret_key)

    def decrypted(self, decryptor: Any, residues: Words) -> Any:
        """Return the plaintext of an answer, residues (2, 2, SLOTS), reduced."""
        plain = self.api.Plaintext()
        decryptor.decrypt(self._load(self.api.Ciphertext(), self._full.around(residues.tobytes())), plain)
        return plain

    def wire_form(self, serializable: Any, level: int) -> bytes:
        """Return residues of the first polynomial, then the seed of the second: seeded_bytes(level) bytes."""
        file = self._saved_seeded(serializable, level)
        return file[_HEADER + _CIPHER_FIELDS : -SEED_BYTES - _GENERATOR_FIELDS] + file[-SEED_BYTES:]

    def load_seeded(self, wire: bytes, level: int) -> Any:
        """Load a ciphertext from its wire form; its residues must be reduced."""
        return self._load(self.api.Ciphertext(), self._seeded[level].around(wire[:-SEED_BYTES], wire[-SEED_BYTES:]))

    def answer_residues(self, ciphertext: Any) -> Words:
        """Return the residues (2, 2, SLOTS) of a ciphertext at the answers' level, not in NTT form."""
        file = saved(ciphertext, _CIPHER_FIELDS + 2 * 2 * 8 * SLOTS)
        return np.frombuffer(file, dtype="<u8", offset=_HEADER + _CIPHER_FIELDS).reshape(2, 2, SLOTS)

    def load_plain(self, coefficients: Words) -> Any:
        """Load a plaintext polynomial, uint64 (SLOTS,), each below the plaintext modulus."""
        return self._load(self.api.Plaintext(), self._plain.around(coefficients.tobytes()))

    def coefficients(self, plain: Any) -> Words:
        """Return the coefficients (SLOTS,) of a plaintext; SEAL drops the zeros at the top."""
        out = np.zeros(SLOTS, dtype=np.uint64)
        count = plain.coeff_count()
        file = saved(plain, _PLAIN_FIELDS + 8 * count)
        out[:count] = np.frombuffer(file, dtype="<u8", offset=_HEADER + _PLAIN_FIELDS)
        return out

    def _load(self, thing: Any, file: bytes) -> Any:
        with memory_file(file) as (_, path):
            thing.load(self.seal, path)
        return thing


def seeded_bytes(level: int) -> int:
    """Return the size of a ciphertext's wire form: 196,672 at level 0, 131,136 at level 1."""
    return 8 * (3 - level) * SLOTS + SEED_BYTES
