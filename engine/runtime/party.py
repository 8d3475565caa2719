"""A party of a run, seen from inside: its name, its channels, its policy, its ledger.

Every run begins with `agree`: all parties exchange digests of everything that must be the same on every side, section
by section, before any data moves; a difference is a fault that names the peer and the section.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.errors import Misuse
from engine.runtime.channel import Channel, Link
from engine.runtime.ledger import Ledger
from engine.runtime.message import message
from engine.runtime.policy import Policy
from engine.runtime.protection import Public


@dataclass(frozen=True)
class Progress:
    """One step of work: `stage` "align", "train", ...; `done` of `total`; figures such as {"loss": 0.31}."""

    party: str
    stage: str
    done: int
    total: int
    figures: Mapping[str, float] = field(default_factory=dict)


@message(Public("digests of the plan, to check that all sides run the same"), limit=1 << 16)
class Agreement:
    """Digest of each section of the plan."""

    sections: tuple[str, ...]
    digests: tuple[bytes, ...]


def silent(_: Progress) -> None:
    """Report progress to nobody."""


class Party:
    """One organisation in one run.

    Args:
        parties: all parties in the agreed order; the label holder comes first.
        messages: the classes that the run's protocols use; the channels let no other pass.
    """

    def __init__(
        self,
        name: str,
        parties: Sequence[str],
        links: Mapping[str, Link],
        messages: Collection[type[Any]],
        *,
        policy: Policy | None = None,
        progress: Callable[[Progress], None] = silent,
        timeout: float = 600.0,
    ) -> None:
        if name not in parties or len(set(parties)) != len(parties):
            raise Misuse(f"the parties of a run are named once each and include this one: {name} of {list(parties)}")
        self.name = name
        self.parties = tuple(parties)
        self.policy = policy or Policy()
        self.ledger = Ledger(name)
        self._progress = progress
        allowed = {*messages, Agreement}
        self.channels = {peer: Channel(link, name, self.ledger, allowed, timeout) for peer, link in links.items()}

    def __getitem__(self, peer: str) -> Channel:
        """The channel to a peer."""
        return self.channels[peer]

    @property
    def peers(self) -> tuple[str, ...]:
        """The other parties, in the agreed order."""
        return tuple(p for p in self.parties if p != self.name)

    @property
    def networked(self) -> bool:
        """Whether any channel leaves this process."""
        return any(channel.networked for channel in self.channels.values())

    def agree(self, plan: Mapping[str, bytes]) -> bytes:
        """Check with every peer that all sides hold the same plan; return the digest of the whole.

        Args:
            plan: section name -> canonical bytes of that section.

        Raises:
            PeerFault: a peer holds another plan; its text names the sections that differ.
        """
        mine = Agreement(tuple(plan), tuple(hashlib.sha256(part).digest() for part in plan.values()))
        for peer in self.peers:
            self[peer].send(mine)
        for peer in self.peers:
            theirs = self[peer].receive(Agreement)
            other = dict(zip(theirs.sections, theirs.digests, strict=False))
            differ = [s for s, d in zip(mine.sections, mine.digests, strict=True) if other.get(s) != d]
            self[peer].require(
                not differ and len(theirs.sections) == len(mine.sections),
                f"agreed to another run than {self.name}: they differ in {', '.join(differ) or 'their sections'}",
            )
        return hashlib.sha256(b"".join(mine.digests)).digest()

    def report(self, stage: str, done: int, total: int, **figures: float) -> None:
        """Tell whoever watches how far this party is."""
        self._progress(Progress(self.name, stage, done, total, figures))
