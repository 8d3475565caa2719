"""How lists are cut and ordered."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from engine.errors import Misuse
from engine.kernels.lists import check_lists, evenly, pieces

LENGTHS = np.array([0, 1, 63, 64, 65, 128, 129, 1000, 0])
OFFSETS = np.concatenate([[0], np.cumsum(LENGTHS)])


def test_pieces_cover_their_lists_and_are_alike() -> None:
    starts, stops, bounds = pieces(OFFSETS, 64)
    assert np.diff(bounds).tolist() == [1, 1, 1, 1, 2, 2, 3, 16, 1]
    for (first, last), (start, stop) in zip(pairwise(bounds), pairwise(OFFSETS), strict=True):
        assert starts[first] == start
        assert stops[last - 1] == stop
        assert (starts[first + 1 : last] == stops[first : last - 1]).all()
        sizes = (stops - starts)[first:last]
        assert sizes.max() <= 64
        assert sizes.max() - sizes.min() <= 1


def test_neighbours_are_alike_and_halves_have_equal_work() -> None:
    lengths = np.random.default_rng(1).integers(0, 1000, 5003)
    order = evenly(lengths)
    assert np.array_equal(np.sort(order), np.arange(5003))
    laid = lengths[order]
    longest = laid[:4992].reshape(-1, 16).max(axis=1).sum() * 16
    assert longest < 1.02 * laid[:4992].sum()
    for parts in (2, 3, 8):
        work = [part.sum() for part in np.array_split(laid, parts)]
        assert max(work) < 1.15 * min(work)
    few = lengths[:320]
    assert abs(few[evenly(few)[:160]].sum() / few.sum() - 0.5) < 0.05
    assert evenly(lengths[:0]).tolist() == []
    assert evenly(np.array([1, 3, 2])).tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("offsets", "members", "words"),
    [
        ([], [], "ascend"),
        ([1, 2], [0, 0], "ascend"),
        ([0, 2, 1, 3], [0, 0, 0], "ascend"),
        ([0, 1], [0, 0], "ascend"),
        ([0, 1], [3], "not among the 3"),
        ([0, 1], [-1], "not among the 3"),
        ([0.0, 1.0], [0], "integers"),
        ([[0, 1]], [0], "integers"),
    ],
)
def test_lists_that_are_none_are_refused(offsets: list[int], members: list[int], words: str) -> None:
    with pytest.raises(Misuse, match=words):
        check_lists(np.array(offsets, dtype=None if offsets else np.int64), np.array(members, dtype=np.int64), 3)
