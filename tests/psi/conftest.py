"""Sets of ids, and parties that align them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.psi.align import MESSAGES, align
from engine.psi.identifiers import encode
from engine.runtime.party import Party

NAMES = ("bank", "telco", "shop", "insurer")


def keys_of(ids: Sequence[Any]) -> NDArray[np.uint8]:
    return encode(np.array([str(i) for i in ids], dtype=object))


@pytest.fixture
def aligned(play: Callable[..., Any]) -> Callable[..., list[list[Any]]]:
    """Return `aligned(*sets, **options)`: what each party holds after alignment, in its order."""

    def run(*sets: Sequence[Any], policies: Any = None, **options: Any) -> list[list[Any]]:
        def role(ids: Sequence[Any]) -> Callable[[Party], list[Any]]:
            return lambda party: [ids[row] for row in align(party, keys_of(ids), **options)]

        roles = {name: role(ids) for name, ids in zip(NAMES, sets, strict=False)}
        return list(play(roles, MESSAGES, policies).values())

    return run
