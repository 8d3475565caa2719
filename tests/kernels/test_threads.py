"""Batches are split over threads where that is worth it, with the results of one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.kernels import masks, ntt, sums, threads
from engine.kernels.threads import in_threads


def drawn(*shape: int, high: int = 2**32, dtype: type[Any] = np.int64) -> Any:
    return np.random.default_rng(7).integers(0, high, shape, dtype=dtype)


def products(count: int) -> Any:
    """Return sums of products with factors that do not begin at 0."""
    transform = ntt.Transform(65537, 64)
    out, rows = drawn(count, 2, 64, high=65537, dtype=np.uint64), drawn(3, 2, 64, high=65537, dtype=np.uint64)
    factors = drawn(5 + 64 * 3 * count, high=65537, dtype=np.uint64)
    transform.add_products(out, factors, (5, 64 * 3, 64, 16), rows)
    return out


KEYS = drawn(3, 32, high=256, dtype=np.uint8)
NODES = drawn(700, high=5, dtype=np.int32) - np.int32(1)
OFFSETS = np.sort(drawn(101, high=700))
CASES: dict[str, Callable[[], Any]] = {
    "masks, 32 bits": lambda: masks.add_masks(
        drawn(50_001, dtype=np.uint32), KEYS, np.array([1, -1, 1]), (1 << 64) - 4099
    ),
    "masks, 64 bits": lambda: masks.add_masks(drawn(50_001, dtype=np.uint64), KEYS, np.ones(3), (1 << 128) - 5000),
    "forward": lambda: ntt.Transform(65537, 64).forward(drawn(7, 64, high=65537, dtype=np.uint64)),
    "inverse": lambda: ntt.Transform(65537, 64).inverse(drawn(3, 5, 64, high=65537, dtype=np.uint64)),
    "products": lambda: products(19),
    "histogram": lambda: sums.histogram(drawn(7, 700, high=9, dtype=np.uint16), NODES, drawn(700, 2), 4, 9),
    "segments": lambda: sums.segment_sums(drawn(700, 2), OFFSETS),
    "no segments": lambda: sums.segment_sums(drawn(700, 2), OFFSETS[:1]),
}


@pytest.fixture
def split(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Split as finely as there are steps; return the names of the threads in which parts run, filled as they do."""
    names: set[str] = set()

    def noted(count: int, run: Callable[[slice], None], least: float, step: int = 16) -> None:
        def part(s: slice) -> None:
            names.add(f"{threading.current_thread().name} {s}")
            run(s)

        in_threads(count, part, 1, step)

    for module in (masks, ntt, sums):
        monkeypatch.setattr(module, "in_threads", noted)
    monkeypatch.setattr(threads, "cores", lambda: 3)
    return names


@pytest.mark.parametrize("case", CASES)
def test_threads_share_the_work_and_change_nothing(
    tier: str, case: str, split: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = CASES[case]()
    assert len(split) == (0 if case == "no segments" else 3)
    monkeypatch.setattr(threads, "cores", lambda: 1)
    split.clear()
    np.testing.assert_array_equal(found, CASES[case]())
    assert len(split) <= 1


@pytest.mark.parametrize(
    ("count", "least", "parts"), [(0, 1, 0), (100, 101, 1), (100, 50, 2), (31, 1, 1), (1000, 1, 4)]
)
def test_parts_cover_all_rows_in_whole_steps(count: int, least: float, parts: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 4)
    found: list[slice] = []
    in_threads(count, found.append, least)
    found.sort(key=lambda s: s.start)
    assert len(found) == parts
    assert [i for s in found for i in range(count)[s]] == list(range(count))
    assert all(s.start % 16 == 0 for s in found)


def test_a_fault_in_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 2)

    def run(s: slice) -> None:
        if s.start:
            raise ArithmeticError("beyond the first part")

    with pytest.raises(ArithmeticError, match="beyond"):
        in_threads(64, run, 1)
