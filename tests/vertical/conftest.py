"""Small joint tables, and a network whose frames can be read and changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.runtime import local
from engine.runtime.local import MemoryLink, Network
from engine.runtime.message import Buffer
from engine.runtime.party import Party

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Joint:
    """Aligned columns of several parties and the label of the first."""

    names: tuple[str, ...]
    X: tuple[Floats, ...]
    y: Floats

    @property
    def whole(self) -> Floats:
        return np.hstack(self.X)

    def label(self, name: str) -> Floats | None:
        return self.y if name == self.names[0] else None

    def of(self, name: str) -> Floats:
        return self.X[self.names.index(name)]


@pytest.fixture
def joint() -> Callable[..., Joint]:
    """Return a maker of joint tables: `joint(rows, columns of each party, strength, seed)`."""

    def make(rows: int = 400, columns: Sequence[int] = (3, 4), strength: float = 1.0, seed: int = 1) -> Joint:
        rng = np.random.default_rng(seed)
        X = tuple(rng.normal(size=(rows, count)) for count in columns)
        score = strength * np.hstack(X) @ rng.normal(size=sum(columns)) - 0.5
        y = (rng.random(rows) < 1 / (1 + np.exp(-score))).astype(np.float64)
        return Joint(("bank", "telco", "bureau", "shop")[: len(columns)], X, y)

    return make


Meddle = Callable[[str, str, bytes], bytes]


class _Tapped(Network):
    """A network that shows every frame to `meddle(sender, receiver, frame)` and delivers what it returns."""

    def __init__(self, parties: Sequence[str], meddle: Meddle) -> None:
        super().__init__(parties)
        self.meddle = meddle

    def links(self, me: str) -> dict[str, Any]:
        return {peer: _TappedLink(self, me, peer) for peer in self.parties if peer != me}


class _TappedLink(MemoryLink):
    def put(self, buffers: Sequence[Buffer]) -> None:
        network: Any = self._network
        super().put([network.meddle(self._me, self.peer, b"".join(buffers))])


@pytest.fixture
def tapped() -> Callable[..., dict[str, Any]]:
    """Return `tapped(names, messages, role, meddle)`: run `role(party)` at each party over a tapped network."""

    def play(names: Sequence[str], messages: Sequence[type], role: Callable[[Party], Any], meddle: Meddle) -> Any:
        network = _Tapped(names, meddle)
        parties = {name: Party(name, names, network.links(name), messages, timeout=60) for name in names}
        return local.run(network, {name: lambda p=party: role(p) for name, party in parties.items()})

    return play
