"""How work is timed, here and in the peers' own environments; standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")


def timed(work: Callable[[], R]) -> tuple[float, R]:
    """Return the CPU seconds that all threads of this process spend while `work` runs, and what it returns."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds that all threads of this process spend while `work` runs."""
    return timed(work)[0]
