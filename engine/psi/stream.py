"""Sets of any size, matched part by part in constant memory.

Both sides sort their keys into parts by a hash under the session id, so equal keys meet in parts of one number. Each
part is padded to a size that depends on public sizes only: the mean plus a margin that no part passes but with
probability 2**-40 (Bernstein's inequality), filled with random keys. Several parts lie in a temporary folder, the
hashed keys and row numbers of this party in files that are removed at the end.

The sender sees how many rows each part shares, so parts are not made small: about 16,384 rows of the smaller set are in
each, and where the larger has more than 64 times as many, its parts are of more than a million.

    for each part   2, 3  as in ecdh.py, with scalars of its own
    then            the sender's policy decides on the sum of the counts;  4  is the caller's
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.kernels import group
from engine.psi.ecdh import Marks, PooledTags, count_shared, offer_and_pool
from engine.psi.identifiers import KEY_BYTES, Spec, require_distinct
from engine.psi.session import Budget, Hello, Points, Session, bucket, chunks, greet
from engine.randomness import random_bytes
from engine.runtime.channel import Channel
from engine.runtime.party import Party

PART = 1 << 20
SPREAD = 64  # how many times more rows of the larger set than of the smaller a part may hold and be of PART rows
PAD = -1  # the row number of what only pads
MESSAGES: tuple[type, ...] = (Hello, Points, PooledTags, Marks)
_RECORD = np.dtype([("key", np.uint8, KEY_BYTES), ("row", "<i8")])
Keys = NDArray[np.uint8]
Rows = NDArray[np.int64]


def part_size(rows: int, parts: int) -> int:
    """Return the size to which each part of so many rows is padded: all of them, if there is one part."""
    if parts == 1:
        return rows
    mean, nats = rows / parts, 40 * math.log(2) + math.log(parts)
    return math.ceil(mean + nats / 3 + math.sqrt(nats * nats / 9 + 2 * nats * mean))


def part_count(sizes: Collection[int]) -> int:
    """Return the parts for sets of these sizes: PART rows of the larger in each, or PART / SPREAD of the smaller."""
    return max(1, min(-(-max(sizes) // PART), min(sizes) * SPREAD // PART))


class Parts:
    """One party's keys in parts. Use it in a `with` block: its end removes what was written.

    Args:
        keys: shape (n, 16), dtype uint8; may be a memory map, and is read once, in order.
        folder: where to write, if there is more than one part; default the system's folder for temporary files.
    """

    def __init__(self, name: str, keys: Keys, session: Session, folder: Path | None) -> None:
        self.parts = part_count(session.rows.values())
        self.session = replace(
            session, rows={n: part_size(r, self.parts) for n, r in session.rows.items()}, parts=self.parts
        )
        self.size = self.session.rows[name]
        self._records: NDArray[np.void] = np.empty(0, dtype=_RECORD)
        self._shuffled: Rows = np.empty(0, dtype=np.int64)
        self._folder = tempfile.TemporaryDirectory(prefix="synergos-psi-", dir=folder) if self.parts > 1 else None
        try:
            self._divide(keys)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was written."""
        if self._folder is not None:
            self._folder.cleanup()

    def at(self, part: int) -> Session:
        """Return the session as it is within a part."""
        return replace(self.session, part=part)

    def padded(self, part: int) -> tuple[Keys, Rows]:
        """Return the keys of a part, shape (size, 16), and their rows, PAD for what only pads, shape (size,)."""
        records = self._read(part)
        missing = self.size - len(records)
        if missing < 0:
            raise Misuse("chance put too many rows into one part, which happens once in 2**40 runs: run it again")
        dummies = random_bytes(KEY_BYTES * missing).reshape(-1, KEY_BYTES)
        return np.concatenate([records["key"], dummies]), np.append(records["row"], np.full(missing, PAD))

    def keep(self, part: int, rows: Rows) -> None:
        """Keep the rows of a part in the order of its shuffle until they are asked for, see `kept`."""
        if self._folder is None:
            self._shuffled = rows
        else:
            with open(self._path("shuffle", part), "wb", opener=_private) as file:
                rows.tofile(file)

    def kept(self, part: int) -> Rows:
        """Return what was kept of a part."""
        return self._shuffled if self._folder is None else np.fromfile(self._path("shuffle", part), dtype=np.int64)

    def _divide(self, keys: Keys) -> None:
        held = []
        for chunk in chunks(len(keys)):
            mine = np.ascontiguousarray(keys[chunk])
            records = np.empty(len(mine), dtype=_RECORD)
            records["key"], records["row"] = mine, np.arange(chunk.start, chunk.stop)
            if self._folder is None:
                held.append(records)
            else:
                self._append(records, self._parts_of(mine))
        if self._folder is None:
            self._records = np.concatenate(held)
        for part in range(self.parts if len(keys) > PART else 0):  # else `start` has checked it
            self._require_distinct(part)

    def _parts_of(self, keys: Keys) -> NDArray[np.int64]:
        hashes = group.expanded(keys, b"SYNERGOS-PSI-V1-part_" + self.session.id)[:, :4]
        words = np.ascontiguousarray(hashes).view("<u4")[:, 0].astype(np.uint64)
        return (words * np.uint64(self.parts) >> np.uint64(32)).astype(np.int64)

    def _append(self, records: NDArray[np.void], parts: NDArray[np.int64]) -> None:
        order = np.argsort(parts, kind="stable")
        bounds = np.searchsorted(parts[order], np.arange(self.parts + 1))
        for part in range(self.parts):
            with open(self._path("keys", part), "ab", opener=_private) as file:
                records[order[bounds[part] : bounds[part + 1]]].tofile(file)

    def _read(self, part: int) -> NDArray[np.void]:
        if self._folder is None:
            return self._records
        path = self._path("keys", part)
        return np.fromfile(path, dtype=_RECORD) if path.exists() else np.empty(0, dtype=_RECORD)

    def _require_distinct(self, part: int) -> None:
        records = self._read(part)
        require_distinct(np.ascontiguousarray(records["key"]), records["row"])

    def _path(self, what: str, part: int) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / f"{what}.{part}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@dataclass(frozen=True)
class Run:
    """A matching that has begun, seen from one side."""

    party: Party
    peer: Channel
    parts: Parts
    floor: int  # the run's minimum of shared rows

    def check(self, shared: int) -> None:
        """Let this side's policy decide on the number of shared rows."""
        self.party.policy.check_intersection(shared, self.floor)


@contextmanager
def started(
    party: Party,
    mode: str,
    keys: Keys,
    floor: int,
    *,
    pad: bool,
    context: bytes,
    spec: Spec | None,
    budget: Budget,
    folder: Path | None,
) -> Iterator[Run]:
    """Greet the other party and divide the keys; what was written is gone when the block ends, however it does."""
    if len(party.peers) != 1:
        raise Misuse("this is between two parties; `align` matches the rows of more")
    if keys.ndim != 2 or keys.shape[1] != KEY_BYTES or keys.dtype != np.uint8:
        raise Misuse(f"keys to match have shape (rows, {KEY_BYTES}) and dtype uint8: make them with encode()")
    if len(keys) <= PART:
        require_distinct(keys)
    rows = bucket(len(keys)) if pad else len(keys)
    session = greet(party, mode, rows, spec or Spec(), context, budget)  # 1
    with Parts(party.name, keys, session, folder) as parts:
        yield Run(party, party[party.peers[0]], parts, floor)


def offer_all(run: Run) -> None:
    """The receiver's steps 2 and 3 for every part; `Parts.kept` then gives the rows in the order of each shuffle."""
    for part in range(run.parts.parts):
        keys, rows = run.parts.padded(part)
        order, _ = offer_and_pool(run.party, run.peer, keys, run.parts.at(part))
        run.parts.keep(part, rows[order])


def count_all(run: Run) -> tuple[int, list[NDArray[np.uint8]]]:
    """The sender's steps 2 and 3 for every part, then its policy.

    Returns how many rows are shared and, for each part, which points of the receiver's shuffle are, a bit each.
    """
    shared, marks = 0, []
    for part in range(run.parts.parts):
        _, pooled, places = count_shared(run.party, run.peer, run.parts.padded(part)[0], run.parts.at(part))
        bits = np.zeros(run.parts.session.rows[run.peer.peer], dtype=np.bool_)
        bits[places] = True
        marks.append(np.packbits(bits, bitorder="little"))
        shared += len(pooled)
    run.check(shared)
    return shared, marks
