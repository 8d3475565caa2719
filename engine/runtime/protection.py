"""What keeps the content of a message from its receiver: one word a message class must declare.

Strongest first. A message with fields of several kinds declares the weakest. The ledger prints `str(protection)`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar


@dataclass(frozen=True)
class Protection:
    """Base of the protections; `rank` orders them, 0 is the strongest."""

    rank: ClassVar[int] = 99

    def __str__(self) -> str:
        values = [str(getattr(self, field.name)) for field in fields(self)]
        return f"{type(self).__name__.lower()} ({'; '.join(values)})"


@dataclass(frozen=True)
class Sealed(Protection):
    """Encrypted under a key whose secret part only `owner` holds."""

    owner: str
    rank: ClassVar[int] = 0


@dataclass(frozen=True)
class Shared(Protection):
    """A secret share: uniform on its own, meaningful only together with `needs`."""

    needs: str
    rank: ClassVar[int] = 1


@dataclass(frozen=True)
class Masked(Protection):
    """A value plus a uniform mask that `cancels` says when and where it disappears."""

    cancels: str
    rank: ClassVar[int] = 2


@dataclass(frozen=True)
class Blinded(Protection):
    """A group element raised to a secret; hidden under the `assumption`."""

    assumption: str
    rank: ClassVar[int] = 3


@dataclass(frozen=True)
class Noised(Protection):
    """A value with calibrated noise from `mechanism`."""

    mechanism: str
    rank: ClassVar[int] = 4


@dataclass(frozen=True)
class Public(Protection):
    """Parameters, keys and sizes that every party of the run may know."""

    what: str
    rank: ClassVar[int] = 5


@dataclass(frozen=True)
class Aggregate(Protection):
    """A function of at least `over` rows, in clear."""

    what: str
    over: str
    rank: ClassVar[int] = 6


@dataclass(frozen=True)
class Plain(Protection):
    """In clear: `what` is shown and `why` the protocol needs it."""

    what: str
    why: str
    rank: ClassVar[int] = 7
