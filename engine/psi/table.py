"""A set evaluated once under a key of its own: what a sender keeps, and what receivers get of it.

The function is that of oprf.py. Of its output at a row, the first bytes are the row's tag and the second half makes the
key of its label (AES-256-GCM), so tags say nothing about labels. Rows stand in the order of their tags, and random ones
among them hide how many there are. Labels as in Chen, Huang, Laine, Rindal 2018.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.kernels import group
from engine.psi.identifiers import KEY_BYTES, require_distinct
from engine.psi.matching import in_byte_order, tag_size
from engine.psi.oprf import Suite, public_key
from engine.psi.session import bucket, chunks
from engine.randomness import random_bytes

Bytes = NDArray[np.uint8]
QUERIES = 1 << 20
LONGEST_LABEL = 512
SEAL = 16  # bytes that AES-GCM adds to a label
_NONCE = bytes(12)  # each key of a label seals one label
_MAGIC = b"SYNERGOS OPRF 1\n"


@dataclass(frozen=True)
class Directory:
    """The part of a table that receivers get, and may keep for their next queries."""

    public: bytes  # k G
    salt: bytes  # fresh in each table
    verifiable: bool
    tags: Bytes  # (n, t), sorted; n is padded
    labels: Bytes  # (n, w + 16) sealed, or (n, 0)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of all of it."""
        sizes = np.array([*self.tags.shape, self.labels.shape[1], self.verifiable], dtype="<u8").tobytes()
        whole = hashlib.sha256(b"synergos oprf table" + self.public + self.salt + sizes)
        for array in (self.tags, self.labels):
            for part in chunks(len(array)):
                whole.update(array[part].tobytes())
        return whole.digest()


@dataclass(frozen=True)
class Table:
    """A sender's set, evaluated once under a key that no other table has; `key` is secret."""

    directory: Directory
    key: int

    def __repr__(self) -> str:
        return f"Table({len(self.directory.tags):,} rows)"

    def save(self, folder: Path, secret: bytes) -> None:
        """Write the table into a folder, its key sealed (AES-256-GCM) under a secret of 32 bytes.

        Only the owner may read the files, and they replace older ones whole, so who has those loaded keeps them.
        """
        folder.mkdir(parents=True, exist_ok=True)
        own, nonce = self.directory, random_bytes(12).tobytes()
        sealed = _cipher(secret).encrypt(nonce, self.key.to_bytes(32, "little"), own.digest)
        for name, array in (("tags.npy", own.tags), ("labels.npy", own.labels)):
            with _replaced(folder / name) as file:
                np.save(file, array)
        with _replaced(folder / "table") as file:
            file.write(_MAGIC + bytes([own.verifiable]) + own.public + own.salt + nonce + sealed)

    @classmethod
    def load(cls, folder: Path, secret: bytes) -> Table:
        """Read a saved table; tags and labels stay on disk until they are used.

        Raises:
            Misuse: the folder holds no table, another secret sealed it, or the files were changed.
        """
        try:
            raw = (folder / "table").read_bytes()
            tags, labels = (np.load(folder / name, mmap_mode="r") for name in ("tags.npy", "labels.npy"))
        except (OSError, ValueError):
            raise Misuse(f"{folder} holds no table that can be read: make it again with build()") from None
        if not raw.startswith(_MAGIC) or len(raw) != len(_MAGIC) + 1 + 32 + 32 + 12 + 32 + SEAL:
            raise Misuse(f"{folder} holds no table of this version: make it again with build()")
        flag, public, salt, nonce, sealed = _cut(raw[len(_MAGIC) :], 1, 32, 32, 12, 32 + SEAL)
        directory = Directory(public, salt, flag == b"\1", tags, labels)
        try:
            key = _cipher(secret).decrypt(nonce, sealed, directory.digest)
        except InvalidTag:
            raise Misuse(f"the table in {folder} was sealed with another secret, or its files were changed") from None
        return cls(directory, int.from_bytes(key, "little"))


@contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:  # 0600
        try:
            yield file
            file.close()
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _cipher(secret: bytes) -> AESGCM:
    if len(secret) != 32:
        raise Misuse("The key of a table is sealed under a secret of 32 bytes.")
    return AESGCM(secret)


def _cut(raw: bytes, *widths: int) -> Iterator[bytes]:
    at = 0
    for width in widths:
        yield raw[at : at + width]
        at += width


def build(keys: Bytes, labels: Bytes | None = None, *, queries: int = QUERIES, verifiable: bool = False) -> Table:
    """Evaluate a set once, under a fresh key.

    Args:
        keys: shape (n, 16), dtype uint8, distinct: from `identifiers.encode`.
        labels: what to release for each row that is asked for, shape (n, w), dtype uint8, w at most 512; or none.
        queries: the most ids that the table is asked for in all; tags are sized so that none of them matches by
            accident but with probability 2**-40.
        verifiable: whether answers carry a proof; costs the receiver as much again.

    Raises:
        Misuse: keys or labels of another form, two rows with one id, or no rows.
    """
    check(keys)
    if labels is not None and (labels.dtype != np.uint8 or labels.ndim != 2 or len(labels) != len(keys)):
        raise Misuse("labels have one row for each key, shape (n, w), dtype uint8")
    if labels is not None and not 0 < labels.shape[1] <= LONGEST_LABEL:
        raise Misuse(f"a label has 1 to {LONGEST_LABEL} bytes: give a reference to what is longer")
    key, suite, salt = group.random_scalar(), Suite(verifiable), random_bytes(32).tobytes()
    rows = bucket(len(keys))
    size = tag_size(rows, queries)
    width = 0 if labels is None else labels.shape[1] + SEAL
    tags = random_bytes(rows * size).reshape(rows, size)  # those that are not overwritten pad: outputs look like these
    sealed = random_bytes(rows * width).reshape(rows, width)
    for part in chunks(len(keys)):
        outputs = suite.evaluated(key, np.ascontiguousarray(keys[part]))
        tags[part] = outputs[:, :size]
        if labels is not None:
            sealed[part] = _sealed(outputs, salt, labels[part])
    order, same = in_byte_order(tags)
    if same.any():  # a query would find the label of another row
        return build(keys, labels, queries=queries, verifiable=verifiable)
    return Table(Directory(public_key(key), salt, verifiable, tags[order], sealed[order]), key)


def check(keys: Bytes) -> None:
    """Raise Misuse unless the keys are rows (n, 16) of uint8, one or more, all distinct."""
    if keys.ndim != 2 or keys.shape[1] != KEY_BYTES or keys.dtype != np.uint8:
        raise Misuse(f"keys to match have shape (rows, {KEY_BYTES}) and dtype uint8: make them with encode()")
    if not len(keys):
        raise Misuse("there are no rows to match: check the data brought to this run")
    require_distinct(keys)


def opened(outputs: Bytes, salt: bytes, sealed: Bytes) -> Bytes:
    """Open sealed labels, (n, w + 16), with the outputs at their rows, (n, 64).

    Raises:
        ValueError: a label was sealed under another key.
    """
    if not sealed.shape[1]:
        return sealed
    try:
        pairs = zip(_label_keys(outputs, salt), sealed, strict=True)
        return _rows([k.decrypt(_NONCE, x.tobytes(), None) for k, x in pairs], sealed.shape[1] - SEAL)
    except InvalidTag:
        raise ValueError("a label sealed under another key than its row's") from None


def _label_keys(outputs: Bytes, salt: bytes) -> Iterator[AESGCM]:
    raw = outputs[:, 32:].tobytes()
    return (AESGCM(hashlib.sha256(salt + raw[i : i + 32]).digest()) for i in range(0, len(raw), 32))


def _sealed(outputs: Bytes, salt: bytes, labels: Bytes) -> Bytes:
    pairs = zip(_label_keys(outputs, salt), labels, strict=True)
    return _rows([k.encrypt(_NONCE, x.tobytes(), None) for k, x in pairs], labels.shape[1] + SEAL)


def _rows(parts: list[bytes], width: int) -> Bytes:
    return np.frombuffer(b"".join(parts), dtype=np.uint8).reshape(-1, width)
