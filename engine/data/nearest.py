"""One sentence for a name that nobody knows: the nearest known one, or all of them when there are few."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_FEW = 12


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return how a complaint about `name` ends: "did you mean 'x'?", else what there is to choose from."""
    names = sorted(known)
    folded = {each.casefold(): each for each in names}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)  # half of two letters
    if near:
        return f"did you mean {folded[near[0]]!r}?"
    if not names:
        return "there is none to choose from"
    shown = ", ".join(names[:_FEW])
    return f"there are: {shown}" + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")
