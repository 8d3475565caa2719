"""Sorting and joining rows of bytes; arrays only, nothing here talks.

Rows are compared as byte strings (first byte first), so every side that holds the same rows sorts them the same way.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.kernels import group

Rows = NDArray[np.uint8]
Positions = NDArray[np.int64]


def in_byte_order(rows: Rows) -> tuple[Positions, NDArray[np.bool_]]:
    """Sort rows of bytes.

    Args:
        rows: shape (n, w), dtype uint8.

    Returns:
        order: the sorting permutation, shape (n,), dtype int64; equal rows stand together, in any order.
        same: whether row order[i] equals row order[i + 1], shape (max(n - 1, 0),).
    """
    words = _words(rows)
    order = np.argsort(words[0])
    heads = words[0][order]
    tie = heads[1:] == heads[:-1]
    same = _same(words, order, tie)
    # One word sorts four times as fast as all of them and settles nearly every case: rows are hashes. It does not
    # where rows tie in it without being equal, or more than two tie.
    if (tie & ~same).any() or (tie[1:] & tie[:-1]).any():
        order = np.lexsort(words[::-1])
        same = _same(words, order, np.ones(max(len(rows) - 1, 0), dtype=np.bool_))
    return order.astype(np.int64, copy=False), same


def match(mine: Rows, theirs: Rows) -> tuple[Positions, Positions]:
    """Return where the rows that stand in both are found in each, in byte order of the rows.

    Args:
        mine, theirs: shapes (n, w) and (m, w), dtype uint8. A row that a side repeats is matched once.

    Returns:
        Two arrays of one length, dtype int64: mine[first[i]] equals theirs[second[i]]; no position stands twice.
    """
    order, same = in_byte_order(np.concatenate([mine, theirs]))
    left, right = order[:-1][same], order[1:][same]
    low, high = np.minimum(left, right), np.maximum(left, right)
    pairs = (low < len(mine)) & (high >= len(mine))
    return low[pairs], high[pairs] - len(mine)


def tag_size(mine: int, theirs: int) -> int:
    """Return the bytes of a tag such that two sets of these sizes collide with probability at most 2**-40."""
    return math.ceil((40 + math.log2(mine) + math.log2(theirs)) / 8)


def tags(key: bytes, rows: Rows, size: int) -> Rows:
    """Return the first `size` bytes of a hash of each row, at most 64 bytes wide, under the key; shape (n, size).

    The hash is expand_message_xmd with SHA-512 (RFC 9380, 5.3.1): the batch hash that the group has in any case.
    """
    return np.ascontiguousarray(group.expanded(rows, b"SYNERGOS-PSI-V1-tag_" + key)[:, :size])


def _words(rows: Rows) -> NDArray[np.uint64]:
    """Return rows as big-endian words, zero padded, shape (ceil(w / 8), n): words sort like the bytes do."""
    n, width = rows.shape
    padded = np.zeros((n, -(-width // 8) * 8), dtype=np.uint8)
    padded[:, :width] = rows
    return np.ascontiguousarray(padded.view(">u8").astype(np.uint64).T)


def _same(words: NDArray[np.uint64], order: NDArray[np.intp], tie: NDArray[np.bool_]) -> NDArray[np.bool_]:
    same = tie.copy()
    at = np.flatnonzero(tie)
    same[at] = (words[:, order[at]] == words[:, order[at + 1]]).all(axis=0)
    return same
