"""Two cores against one: what a batch takes by the clock, divided by what it takes when held to one core.

Half is the best there can be. Believe these of a quiet machine alone; where this process has one core there is no row.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from bench.contest import Contest
from bench.psi import local_rows, meet
from engine.he.elgamal import Elgamal
from engine.he.paillier import Paillier
from engine.kernels import group
from engine.randomness import random_bytes

Work = Callable[[], object]


def contests() -> list[Contest]:
    """Return one contest for each kind of work."""
    if len(os.sched_getaffinity(0)) < 2:
        return []
    return [_encrypting(10_000), _hashing(50_000), _matching(100_000), _summing(2_000_000)]


def contest(name: str, size: int, work: Work) -> Contest:
    """Return the contest of some work with itself on one core."""
    work()  # compiled, tables made

    def measure() -> dict[str, float]:
        with one_core():
            alone = _wall(work)
        return {"wall": _wall(work) / alone}

    return Contest("kernels", f"{size:,}", {"wall": (f"{name}, two cores", "of the time on one")}, measure)


@contextmanager
def one_core() -> Iterator[None]:
    """Hold this thread, and the threads that it starts, to one core while the block lasts."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _wall(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _encrypting(count: int) -> Contest:
    public, values = Paillier(2048).key().public, np.arange(count)
    return contest("paillier-2048 encrypt", count, lambda: public.encrypt(values))


def _hashing(count: int) -> Contest:
    ids, scalar = random_bytes(16 * count).reshape(-1, 16), group.random_scalar()
    return contest("hash_and_multiply", count, lambda: group.hash_and_multiply(ids, b"SYNERGOS-BENCH", scalar))


def _matching(rows: int) -> Contest:
    ids = local_rows(rows)
    return contest("psi", rows, lambda: meet(ids))


def _summing(points: int) -> Contest:
    key = Elgamal(values=1, bits=8, sum_bits=25).key()
    rows = points // 2
    encrypted = key.public.encrypt(np.ones((rows, 1), dtype=np.int64))
    received = key.public.from_bytes(key.public.to_bytes(encrypted))
    members, offsets = np.random.default_rng(1).permutation(rows), np.linspace(0, rows, 257).astype(np.int64)
    return contest("elgamal sum", points, lambda: key.public.sum_by_list(received, offsets, members))
