"""The disclosure ledger: exactly what left a party and what reached it, by message class, and how it was protected.

Kept by the channel, so nothing can be sent beside it. Each party prints and exports its own; what one party says it
sent is what the other says it received.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import Any

from engine.runtime.message import spec_of


@dataclass(frozen=True)
class Entry:
    """All messages of one class in one direction between two parties."""

    sender: str
    receiver: str
    message: str
    protection: str
    rank: int
    messages: int
    bytes: int


class Ledger:
    """Counts messages and payload bytes; safe to use from several threads."""

    def __init__(self, party: str) -> None:
        self.party = party
        self._counts: dict[tuple[str, str, type[Any]], list[int]] = {}
        self._lock = threading.Lock()

    def record(self, sender: str, receiver: str, kind: type[Any], size: int) -> None:
        """Count one message of `size` payload bytes."""
        with self._lock:
            count = self._counts.setdefault((sender, receiver, kind), [0, 0])
            count[0] += 1
            count[1] += size

    def entries(self) -> list[Entry]:
        """Return the entries, sorted by sender, receiver, weakest protection first."""
        with self._lock:
            items = [(key, tuple(count)) for key, count in self._counts.items()]
        entries = [
            Entry(sender, receiver, spec.name, str(spec.protection), spec.protection.rank, messages, size)
            for (sender, receiver, kind), (messages, size) in items
            for spec in [spec_of(kind)]
        ]
        return sorted(entries, key=lambda e: (e.sender, e.receiver, -e.rank, e.message))

    def bytes_by_pair(self) -> dict[str, int]:
        """Return payload bytes as {"from>to": n} for everything this party sent or received."""
        totals: dict[str, int] = {}
        for entry in self.entries():
            pair = f"{entry.sender}>{entry.receiver}"
            totals[pair] = totals.get(pair, 0) + entry.bytes
        return totals

    def to_json(self) -> list[dict[str, Any]]:
        """Return the entries as plain dictionaries."""
        return [asdict(entry) for entry in self.entries()]

    def __str__(self) -> str:
        lines = [f"Disclosure ledger of {self.party}"]
        for e in self.entries():
            size = f"{e.messages:,} messages, {e.bytes:,} bytes"
            lines.append(f"  {e.sender} > {e.receiver}  {e.message}: {e.protection}; {size}")
        return "\n".join(lines)
