"""The costs that the README states are what an alignment does: bytes by the ledger, multiplications by the kernels."""

from __future__ import annotations

import re
from collections import Counter
from math import ceil, log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.kernels import group
from engine.psi import session
from engine.psi.align import MESSAGES, align
from engine.psi.identifiers import encode
from engine.psi.matching import tag_size
from engine.psi.session import POINT_BYTES
from engine.runtime.party import Party

README = Path(__file__).parents[2] / "engine" / "psi" / "README.md"
NAMES = ("bank", "telco", "shop", "insurer")
HEADER = 64  # of a message with one array
CHUNK = 8


def chunks(rows: int) -> int:
    return ceil(rows / CHUNK)


def pair(n: int, m: int, shared: int) -> dict[str, int]:
    """Bytes both ways between a receiver with n rows and a sender with m, and multiplications of both."""
    tag = ceil((40 + log2(n) + log2(m)) / 8)
    return {
        "Hello": 2 * 136,
        "Points": HEADER * (chunks(n) + chunks(m)) + 32 * (n + m),
        "PooledTags": HEADER * chunks(m) + tag * m,
        "Marks": HEADER + ceil(m / 8),
        "Places": HEADER * chunks(shared) + 4 * shared,
        "Positions": HEADER * chunks(shared) + 4 * shared,
        "Confirmation": 2 * 48,
        "multiplications": 2 * (n + m),
    }


def ring(rows: list[int], shared: int) -> dict[str, int]:
    """The same among p parties, the leader first."""
    p, total, messages = len(rows), sum(rows), sum(map(chunks, rows))
    hops = (p - 1) ** 2 + p  # of the shared rows on their way back
    return {
        "Hello": p * (p - 1) * 136,
        "Points": (p - 1) * (HEADER * messages + 32 * total),
        "FullyBlinded": HEADER * (messages - chunks(rows[1])) + 32 * (total - rows[1]),
        "SharedCount": 16 * (p - 1),
        "Common": hops * (HEADER * chunks(shared) + 32 * shared),
        "Confirmation": p * (p - 1) * 48,
        "multiplications": p * total + p * (p - 1) * shared,
    }


@pytest.mark.parametrize(
    ("rows", "shared"), [((20, 30), 9), ((1, 1), 1), ((8, 17), 8), ((20, 30, 11), 9), ((5, 9, 30, 17), 3)]
)
def test_costs_are_the_formulas_of_the_readme(
    play: Any, monkeypatch: pytest.MonkeyPatch, rows: tuple[int, ...], shared: int
) -> None:
    monkeypatch.setattr(session, "CHUNK", CHUNK)
    seen: Counter[str] = Counter()
    for name in ("hash_and_multiply", "multiply"):
        original = getattr(group, name)

        def counting(points: Any, *rest: Any, original: Any = original) -> Any:
            seen["multiplications"] += len(points)
            return original(points, *rest)

        monkeypatch.setattr(group, name, counting)

    def role(party: Party) -> Any:
        at = party.parties.index(party.name)
        own = range(1000 * (at + 1), 1000 * (at + 1) + rows[at] - shared)
        assert len(align(party, encode(np.array([*range(shared), *own])))) == shared
        return [e for e in party.ledger.entries() if e.sender == party.name]

    for entries in play(dict.fromkeys(NAMES[: len(rows)], role), MESSAGES).values():
        for entry in entries:
            seen[entry.message.split(".")[-1]] += entry.bytes
    stated = pair(*rows, shared) if len(rows) == 2 else ring(list(rows), shared)
    assert {kind: count for kind, count in seen.items() if kind != "Agreement"} == stated


def test_the_bytes_of_a_row_are_those_of_the_readme() -> None:
    assert f"{2 * POINT_BYTES + tag_size(10**6, 10**6)} bytes a row and a bit" in README.read_text()


def test_readme_blocks_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})
