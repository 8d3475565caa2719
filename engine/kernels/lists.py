"""Lists of rows, as sums and products take them: list i is members[offsets[i]:offsets[i + 1]].

Long lists are worked through in pieces of about one size, so that lanes and threads have equal work.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse

Places = NDArray[np.int64]

_BLOCK, _HANDS = 16, 64  # lanes of the widest kernel; more than there are threads


def check_lists(offsets: Places, members: Places, count: int) -> tuple[Places, Places]:
    """Return lists of rows as int64 arrays; raises Misuse unless offsets cover all members and members are rows."""
    if any(array.ndim != 1 or array.dtype.kind not in "iu" for array in (offsets, members)):
        raise Misuse("Lists are given by two flat arrays of integers: offsets, and the rows that are their members.")
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(members) or (offsets[1:] < offsets[:-1]).any():
        raise Misuse("Offsets of lists ascend from 0 to the number of members.")
    if len(members) and not (members.min() >= 0 and members.max() < count):
        raise Misuse(f"A list names a row that is not among the {count} that there are.")
    return tuple(np.ascontiguousarray(array, dtype=np.int64) for array in (offsets, members))  # type: ignore[return-value]


def pieces(offsets: Places, most: int) -> tuple[Places, Places, Places]:
    """Cut lists into pieces of at most `most` members, those of one list alike.

    Return where each piece starts and stops, and the pieces of each list as offsets; an empty list is one piece.
    """
    lengths = np.diff(offsets)
    counts = np.maximum(1, -(-lengths // most))
    bounds = np.concatenate([[0], np.cumsum(counts)])
    nth = np.arange(bounds[-1]) - np.repeat(bounds[:-1], counts)
    first, length, count = (np.repeat(part, counts) for part in (offsets[:-1], lengths, counts))
    return first + length * nth // count, first + length * (nth + 1) // count, bounds


def evenly(lengths: Places) -> Places:
    """Return an order in which neighbours have about the same length, and long stretches the same work."""
    order = np.argsort(-lengths, kind="stable")
    whole = len(order) // _BLOCK * _BLOCK
    blocks = whole // _BLOCK
    hands = max(1, min(_HANDS, blocks // 4))
    turn, place = np.divmod(np.arange(blocks), hands)  # dealt out to and fro
    dealt = np.argsort(np.where(turn % 2, hands - 1 - place, place), kind="stable")
    return np.concatenate([order[:whole].reshape(-1, _BLOCK)[dealt].reshape(-1), order[whole:]])
