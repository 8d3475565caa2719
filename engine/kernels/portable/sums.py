# mypy: allow-untyped-defs, no-check-untyped-defs
"""Sums of integers by bin and by list, in scalar Numba; `engine.kernels.reference.sums` is the definition."""

from __future__ import annotations

from numba.core import types

from engine.kernels.jit import kernel, reads, writes

_PIECE = 1 << 12  # rows whose pairs and nodes stay in the first cache while all features pass over them


@kernel(reads(types.uint16, 2), reads(types.int32, 1), reads(types.int64, 2), types.int64, writes(types.int64, 4))
def histogram(bins, nodes, pairs, first, out):
    out[:, first : first + bins.shape[0]] = 0
    for start in range(0, nodes.size, _PIECE):
        stop = min(start + _PIECE, nodes.size)
        for feature in range(bins.shape[0]):
            for row in range(start, stop):
                if nodes[row] >= 0:
                    total = out[nodes[row], first + feature, bins[feature, row]]
                    total[0] += pairs[row, 0]
                    total[1] += pairs[row, 1]


@kernel(reads(types.int64, 2), reads(types.int64, 1), writes(types.int64, 2))
def segments(values, offsets, out):
    out[:] = 0
    for i in range(offsets.size - 1):
        for row in range(offsets[i], offsets[i + 1]):
            for column in range(values.shape[1]):
                out[i, column] += values[row, column]
