"""Batches split over threads: kernels hold no lock while they run."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

__all__ = ["cores", "in_threads"]


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(count: int, run: Callable[[slice], None], least: float, step: int = 16) -> None:
    """Run over slices of `count` rows, each in a thread of its own if it has at least `least` rows.

    Slices begin at multiples of `step`: whole steps of the kernel. Nothing runs for no rows.
    """
    threads = min(cores(), int(count / max(least, 1)), count // step)
    if threads < 2:
        if count:
            run(slice(0, count))
        return
    size = -(-count // (threads * step)) * step
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(run, slice(i, min(i + size, count))) for i in range(0, count, size)]:
            done.result()
