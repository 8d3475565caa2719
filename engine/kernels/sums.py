"""Exact sums of int64 in plain: by node, feature and bin, as trees need them, and by list; modulo 2**64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.kernels.threads import in_threads
from engine.kernels.tiers import kernel

__all__ = ["histogram", "segment_sums"]

Integers = NDArray[np.int64]

_PER_THREAD = 1 << 18  # numbers


def histogram(
    bins: NDArray[np.uint16], nodes: NDArray[np.int32], pairs: Integers, node_count: int, bin_count: int
) -> Integers:
    """Return the sums of each row's pair by node, feature and bin: int64 (node_count, features, bin_count, 2).

    bins: uint16 (features, n), each below bin_count; nodes: int32 (n,), each below node_count, or -1 for a row that
    counts nowhere; pairs: int64 (n, 2). Raises Misuse for other shapes, types and numbers.
    """
    if bins.ndim != 2 or bins.dtype != np.uint16 or nodes.shape != bins.shape[1:] or nodes.dtype != np.int32:
        raise Misuse("A histogram needs bins, uint16 of shape (features, n), and nodes, int32 of shape (n,).")
    if pairs.shape != (len(nodes), 2) or pairs.dtype != np.int64:
        raise Misuse("A histogram sums pairs, int64 of shape (n, 2).")
    if bins.size and (int(bins.max()) >= bin_count or int(nodes.max()) >= node_count or int(nodes.min()) < -1):
        raise Misuse("A histogram was given a bin or a node beyond the number of them.")
    out = np.empty((node_count, bins.shape[0], bin_count, 2), dtype=np.int64)
    run = kernel("sums.histogram")
    bins, nodes, pairs = np.ascontiguousarray(bins), np.ascontiguousarray(nodes), np.ascontiguousarray(pairs)
    least = _PER_THREAD / max(len(nodes), 1)
    in_threads(len(bins), lambda s: run(bins[s], nodes, pairs, s.start, out), least, 1)
    return out


def segment_sums(values: Integers, offsets: Integers) -> Integers:
    """Return the sums of the rows of values, int64 (n, k), from each offset to the next: (len(offsets) - 1, k).

    Raises Misuse unless the offsets ascend within [0, n].
    """
    if values.ndim != 2 or values.dtype != np.int64:
        raise Misuse("Sums by list are of int64 of shape (n, k).")
    well_formed = offsets.ndim == 1 and offsets.dtype == np.int64 and len(offsets) > 0
    if not well_formed or offsets[0] < 0 or offsets[-1] > len(values) or (np.diff(offsets) < 0).any():
        raise Misuse("Offsets of lists are int64 that ascend from 0 or later to at most the number of rows.")
    out = np.empty((len(offsets) - 1, values.shape[1]), dtype=np.int64)
    run, values, offsets = kernel("sums.segments"), np.ascontiguousarray(values), np.ascontiguousarray(offsets)
    least = _PER_THREAD * len(out) / max(values.size, 1)
    in_threads(len(out), lambda s: run(values, offsets[s.start : s.stop + 1], out[s]), least, 1)
    return out
