"""How many rows two parties share, and the sums of columns over them; nobody learns which rows.

    holder, holding X and values v                  helper, holding Y
    1  Hello                            <----->     Hello: sizes, padded
    2  Points, raised;  3  PooledTags              as in ecdh.py, part by part (stream.py);  the helper's policy decides
    4                                      <---     Cardinality  |I|;  the holder's policy decides;  `cardinality` ends
    5  Key, Values  Enc(v) in the shuffle  --->     s = sum of the marked, in the scheme: masked by it
    6                                      <---     Sums  Enc(s - u), u the helper's share
    7  Opening  of its share s - u         --->     (if the helper is to learn)
                                           <---     Opening  of u (if the holder is to learn)

Counting as in Huberman, Franklin, Hogg 1999; sums after Ion et al. 2019 (eprint 2019/723), but with the values' holder
as receiver: the other side then finds the shared points in a shuffle that is not its own, so nothing need be shuffled
back, and all that the holder ever gets is a number and a uniform share. `scheme` is one of `engine.he.scheme`, in which
the product of a 0/1 matrix with an encrypted vector comes out masked.

Both learn |I| and about how many rows the other has; each side in `to` the sums; nobody which rows. Semi-honest: a
holder who raises one row to a scalar of its own, or a helper who adds up other rows than the shared ones, learns about
chosen rows from the sum. A sum over few rows is nearly its rows: each policy's minimum decides before it is opened, and
who may ask twice, with one row more, learns that row. Budgets bound it (`session.Budget`), noise is not added here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.kernels.ring import Ring
from engine.psi import stream
from engine.psi.identifiers import Spec
from engine.psi.session import Budget, unlimited
from engine.runtime.message import MIB, Bytes1, Bytes2, Words2, message
from engine.runtime.party import Party
from engine.runtime.protection import Aggregate, Public, Sealed

if TYPE_CHECKING:
    from engine.he.scheme import Scheme

Share = NDArray[np.uint64]


@message(Aggregate("the number of shared rows", "the minimum that the helper's policy sets"), limit=1 << 12)
class Cardinality:
    """How many rows both parties share."""

    count: int


@message(Public("the holder's public key, and how many columns it brings"))
class Key:
    """What the helper needs to mask the sums."""

    public: Bytes1
    columns: int


@message(Sealed("the holder"), limit=2048 * MIB)
class Values:
    """A column of one part in the order of the shuffle."""

    ciphertexts: Bytes2


@message(Sealed("the holder"), limit=64 * MIB)
class Sums:
    """A column's sum over the shared rows of one part, less the helper's share."""

    ciphertexts: Bytes2


@message(Aggregate("shares of the sums over the shared rows", "the minimum that both policies set"))
class Opening:
    """A side's shares of all sums; residues (2, columns)."""

    share: Words2


MESSAGES: tuple[type, ...] = (*stream.MESSAGES, Cardinality, Key, Values, Sums, Opening)


@dataclass(frozen=True)
class Total:
    """What a side learns."""

    shared: int  # how many rows
    sums: NDArray[np.int64] | None  # of each column over them, shape (columns,); None for a side that is not to learn


def cardinality(
    party: Party,
    keys: NDArray[np.uint8],
    *,
    min_intersection: int = 1,
    pad: bool = True,
    context: bytes = b"",
    spec: Spec | None = None,
    budget: Budget = unlimited,
    folder: Path | None = None,
) -> int:
    """Return how many rows both parties share. Arguments and errors as in `intersect.intersect`."""
    mode = "ecdh cardinality"
    with stream.started(
        party, mode, keys, min_intersection, pad=pad, context=context, spec=spec, budget=budget, folder=folder
    ) as run:
        return _count_as_holder(run) if party.name == party.parties[0] else _count_as_helper(run)[0]


def total(
    party: Party,
    keys: NDArray[np.uint8],
    values: NDArray[np.int64] | None,
    scheme: Scheme,
    *,
    holder: str | None = None,
    to: Collection[str] | None = None,
    min_intersection: int = 1,
    pad: bool = True,
    context: bytes = b"",
    spec: Spec | None = None,
    budget: Budget = unlimited,
    folder: Path | None = None,
) -> Total:
    """Return how many rows both parties share, and the sums of the holder's columns over them.

    Args:
        values: the holder's columns, shape (n, columns), dtype int64, sum of magnitudes below 2**62 in each; None for
            the helper.
        scheme: this party's object of a scheme of `engine.he`; the same scheme on both sides.
        holder: who brings the values, the same on both sides; default the first party.
        to: who learns the sums, the same on both sides; default both.
        Others, and errors, as in `intersect.intersect`; Misuse also for values of another form.
    """
    holds, learn = holder or party.parties[0], sorted(to if to is not None else party.parties)
    if holds not in party.parties or not learn or not set(learn) <= set(party.parties):
        raise Misuse(f"the holder, and those who learn the sums, are of {', '.join(party.parties)}")
    if party.networked and not scheme.networked:
        raise Misuse(f"the scheme {scheme.name} encrypts nothing and never leaves this process; use rlwe")
    if party.name == holds:
        _check(values, len(keys))
    mode = f"ecdh sum of {holds} for {' '.join(learn)} under {scheme.name}"
    with stream.started(
        party, mode, keys, min_intersection, pad=pad, context=context, spec=spec, budget=budget, folder=folder
    ) as run:
        if values is not None and party.name == holds:
            return _holder(run, values, scheme, learn)
        return _helper(run, scheme, learn)


def _check(values: NDArray[np.int64] | None, rows: int) -> None:
    if values is None or values.ndim != 2 or len(values) != rows or values.dtype != np.int64 or not values.shape[1]:
        raise Misuse("values have one row for each key, shape (rows, columns), dtype int64")
    if (np.abs(values.astype(np.float64)).sum(axis=0) >= 2.0**62).any():
        raise Misuse("the magnitudes of a column must add up to less than 2**62: scale the column")


def _count_as_holder(run: stream.Run) -> int:
    stream.offer_all(run)  # 2, 3
    count, most = run.peer.receive(Cardinality).count, run.parts.parts * min(run.parts.session.rows.values())  # 4
    run.peer.require(0 < count <= most, "counted more rows than can be shared")
    run.check(count)
    return count


def _count_as_helper(run: stream.Run) -> tuple[int, list[NDArray[np.uint8]]]:
    shared, marks = stream.count_all(run)  # 2, 3
    run.peer.send(Cardinality(shared))  # 4
    return shared, marks


def _holder(run: stream.Run, values: NDArray[np.int64], scheme: Scheme, learn: list[str]) -> Total:
    shared, helper, parts = _count_as_holder(run), run.peer, run.parts
    ring, key, layout = Ring(scheme.primes), scheme.key(), scheme.layout(parts.size, 1)
    share = np.zeros((2, values.shape[1]), dtype=np.uint64)
    helper.send(Key(key.public, values.shape[1]))  # 5
    for part in range(parts.parts):
        rows = parts.kept(part)
        for column in range(values.shape[1]):
            own = np.where(rows == stream.PAD, 0, values[rows, column])
            helper.send(Values(key.encrypt_rows(ring.to_residues(own), layout)))
            with helper.blame():
                masked = key.decrypt_weights(helper.receive(Sums).ciphertexts, layout)  # 6
            share[:, column : column + 1] = ring.add(share[:, column : column + 1], masked)
    return Total(shared, _opened(run, ring, share, learn))  # 7


def _helper(run: stream.Run, scheme: Scheme, learn: list[str]) -> Total:
    (shared, marks), holder = _count_as_helper(run), run.peer
    count = run.parts.session.rows[holder.peer]
    ring, layout, brought = Ring(scheme.primes), scheme.layout(count, 1), holder.receive(Key)  # 5
    holder.require(0 < brought.columns <= 1 << 16, "brings a number of columns that cannot be")
    with holder.blame():
        key = scheme.peer(brought.public)
    share = np.zeros((2, brought.columns), dtype=np.uint64)
    for bits in marks:
        chosen = np.unpackbits(bits, count=count, bitorder="little").astype(np.int16)[:, None]
        matrix = scheme.matrix(chosen, layout)
        for column in range(brought.columns):
            with holder.blame():
                answer, own = matrix.times_rows(key, holder.receive(Values).ciphertexts)
            holder.send(Sums(answer))  # 6
            share[:, column : column + 1] = ring.add(share[:, column : column + 1], own)
    return Total(shared, _opened(run, ring, share, learn))  # 7


def _opened(run: stream.Run, ring: Ring, share: Share, learn: list[str]) -> NDArray[np.int64] | None:
    """Send the own share to the peer, and add the peer's to it, as far as each is to learn the sums."""
    peer = run.peer
    if peer.peer in learn:
        peer.send(Opening(share))
    if run.party.name not in learn:
        return None
    theirs = peer.receive(Opening).share
    peer.require(theirs.shape == share.shape and ring.contains(theirs), "opened shares that cannot be")
    whole = ring.add(share, theirs)
    with peer.blame():
        return _signed(ring, whole)


def _signed(ring: Ring, whole: Share) -> NDArray[np.int64]:
    try:
        return ring.to_signed(whole)
    except Misuse:
        raise ValueError("shares of a sum that no column can have") from None
