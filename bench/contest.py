"""A contest: ours, the peers and the plaintext take turns, so that a machine that is busy is busy for all of them."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.peers import Unavailable

ROUNDS = 5
QUICK_ROUNDS = 3
PATIENCE = 20.0  # seconds of turns after which a side is not asked again: its cost is no matter of a few percent

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """One line of the result; a side that has no figure has None, and where it is the peer's, `peer` says why."""

    suite: str
    case: str
    size: str
    ours: float | None
    unit: str  # lower is better
    peer: str | None  # name and version
    peer_value: float | None
    ratio: float | None  # peer_value / ours
    plain: float | None  # the same result without any cryptography
    limit: float | None  # what this machine would need if it did nothing but the multiplications, where that is known


class Competitor(Protocol):
    """Something that measures a peer: `Peer` here, `Elsewhere` where it cannot be had."""

    @property
    def name(self) -> str:
        """Name and version."""

    @property
    def figures(self) -> Sequence[str]:
        """The keys of the figures that it gives."""

    def ask(self) -> Figures:
        """Measure once; Unavailable where that is not possible."""


@dataclass(frozen=True)
class Contest:
    """What is measured together: one turn of a side may give several figures."""

    suite: str
    size: str
    cases: Mapping[str, tuple[str, str]]  # key of a figure -> name of the case, unit
    ours: Callable[[], Figures]
    peers: Sequence[Competitor] = ()
    plain: Callable[[], Figures] = dict
    limit: Callable[[], Figures] = dict

    def run(self, rounds: int) -> list[Row]:
        """Take `rounds` turns; one row for each case and peer, medians, four significant digits."""
        ours, plain, limit = (
            _Side(name, self.cases, measure)
            for name, measure in (("ours", self.ours), ("plain", self.plain), ("limit", self.limit))
        )
        peers = [_Side(peer.name, peer.figures, peer.ask) for peer in self.peers]
        for _ in range(rounds):
            for side in (ours, *peers, plain, limit):
                side.turn()
        return [self._row(key, ours, peer, plain, limit) for key in self.cases for peer in _beside(key, peers)]

    def _row(self, key: str, ours: _Side, peer: _Side | None, plain: _Side, limit: _Side) -> Row:
        case, unit = self.cases[key]
        mine, theirs = ours.median(key), peer.median(key) if peer else None
        return Row(
            self.suite,
            case,
            self.size,
            _rounded(mine),
            unit,
            peer.name if peer else None,
            _rounded(theirs),
            _rounded(theirs / mine if theirs is not None and mine else None),
            _rounded(plain.median(key)),
            _rounded(limit.median(key)),
        )


class _Side:
    """One that takes turns, until it has had its time or turns out to have nothing to say."""

    def __init__(self, name: str, gives: Collection[str], measure: Callable[[], Figures]) -> None:
        self.name = name
        self.gives = gives
        self._measure = measure
        self._found: defaultdict[str, list[float]] = defaultdict(list)
        self._spent = 0.0

    def turn(self) -> None:
        """Measure once more."""
        if self._spent > PATIENCE:
            return
        start = time.monotonic()
        try:
            figures = self._measure()
        except Unavailable as why:
            self.name = f"{self.name}: {why}"
            self._found.clear()
            self._spent = float("inf")
            return
        self._spent += time.monotonic() - start
        for key, value in figures.items():
            self._found[key].append(value)

    def median(self, key: str) -> float | None:
        """Return the median of a figure, None if there is none."""
        return statistics.median(self._found[key]) if key in self._found else None


def _beside(key: str, peers: Sequence[_Side]) -> Sequence[_Side | None]:
    return [peer for peer in peers if key in peer.gives] or [None]


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
