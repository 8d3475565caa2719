"""Sums of integers by bin and by list, modulo 2**64: the definition of `engine.kernels.sums`."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def histogram(bins: NDArray[np.uint16], nodes: NDArray[np.int32], pairs: Integers, first: int, out: Integers) -> None:
    """Fill those features of (nodes, features, bins, 2), from `first` on, that bins (some features, n) are of.

    They are sums of pairs (n, 2); rows of node -1 count nowhere.
    """
    out[:, first : first + len(bins)] = 0
    kept = np.flatnonzero(nodes >= 0)
    for feature, row in enumerate(bins, start=first):
        np.add.at(out, (nodes[kept], np.full(kept.size, feature), row[kept]), pairs[kept])


def segments(values: Integers, offsets: Integers, out: NDArray[Any]) -> None:
    """Fill (len(offsets) - 1, k) with the sums of values (n, k) from each offset to the next."""
    for i, (start, stop) in enumerate(pairwise(offsets)):
        out[i] = values[start:stop].sum(axis=0)
