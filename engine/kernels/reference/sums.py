"""Sums of integers by bin and by list, modulo 2**64: the definition of `engine.kernels.sums`."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def histogram(bins: NDArray[np.uint16], nodes: NDArray[np.int32], pairs: Integers, out: Integers) -> None:
    """Fill (nodes, features, bins, 2) with sums of pairs (n, 2); bins (features, n); rows of node -1 count nowhere."""
    out[:] = 0
    kept = np.flatnonzero(nodes >= 0)
    for feature in range(bins.shape[0]):
        np.add.at(out, (nodes[kept], np.full(kept.size, feature), bins[feature, kept]), pairs[kept])


def segments(values: Integers, offsets: Integers, out: NDArray[Any]) -> None:
    """Fill (len(offsets) - 1, k) with the sums of values (n, k) from each offset to the next."""
    for i, (start, stop) in enumerate(pairwise(offsets)):
        out[i] = values[start:stop].sum(axis=0)
