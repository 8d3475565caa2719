"""Exact sums by bin and by list, in every tier."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from engine.errors import Misuse
from engine.kernels import sums

RNG = np.random.default_rng(12)
BINS = RNG.integers(0, 7, (3, 200), dtype=np.uint16)
NODES = RNG.integers(-1, 4, 200, dtype=np.int32)
PAIRS = RNG.integers(-(2**40), 2**40, (200, 2))


def test_a_histogram_sums_by_node_feature_and_bin(tier: str) -> None:
    found = sums.histogram(BINS, NODES, PAIRS, 5, 8)
    assert found.shape == (5, 3, 8, 2)
    for node, feature, place in np.ndindex(5, 3, 8):
        rows = (node == NODES) & (place == BINS[feature])
        assert found[node, feature, place].tolist() == PAIRS[rows].sum(axis=0).tolist()
    assert not sums.histogram(BINS[:, :0], NODES[:0], PAIRS[:0], 2, 2).any()


def test_sums_are_exact_to_the_last_bit(tier: str) -> None:
    """Where float64 would round: 2**62 and 1 together."""
    pairs = np.array([[2**62, -(2**62)], [1, -1]])
    found = sums.histogram(np.zeros((1, 2), np.uint16), np.zeros(2, np.int32), pairs, 1, 1)
    assert found.ravel().tolist() == [2**62 + 1, -(2**62) - 1]


def test_lists_are_summed_empty_ones_too(tier: str) -> None:
    offsets = np.array([3, 3, 10, 10, 200])
    found = sums.segment_sums(PAIRS, offsets)
    assert found.tolist() == [PAIRS[a:b].sum(axis=0).tolist() for a, b in pairwise(offsets)]
    assert sums.segment_sums(PAIRS, offsets[:1]).shape == (0, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"bins": BINS.astype(np.int64)},
        {"nodes": NODES[1:]},
        {"pairs": PAIRS[:, :1]},
        {"pairs": PAIRS.astype(float)},
        {"bin_count": int(BINS.max())},
        {"node_count": int(NODES.max())},
        {"nodes": NODES - 1},
    ],
)
def test_a_histogram_of_something_else_is_refused(change: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"bins": BINS, "nodes": NODES, "pairs": PAIRS, "node_count": 4, "bin_count": 7}
    with pytest.raises(Misuse):
        sums.histogram(**(arguments | change))


@pytest.mark.parametrize("offsets", [[], [-1, 3], [0, 201], [5, 4, 6], [0.0, 2.0]])
def test_lists_that_do_not_ascend_are_refused(offsets: list[Any]) -> None:
    with pytest.raises(Misuse):
        sums.segment_sums(PAIRS, np.array(offsets))
