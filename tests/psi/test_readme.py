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
from engine.psi import intersect, session, unbalanced
from engine.psi import table as tables
from engine.psi.align import MESSAGES, align
from engine.psi.identifiers import encode
from engine.psi.matching import tag_size
from engine.psi.session import POINT_BYTES, bucket
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


def one_sided(n: int, m: int) -> dict[str, int]:
    """The same where the receiver alone learns; sizes are exact."""
    whole = pair(n, m, 0)
    kinds = ("Hello", "Points", "PooledTags", "multiplications")
    return {kind: whole[kind] for kind in kinds} | {"Marks": HEADER + ceil(n / 8)}


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


def counter(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Make chunks small and count multiplications from here on."""
    monkeypatch.setattr(session, "CHUNK", CHUNK)
    seen: Counter[str] = Counter()
    for name in ("hash_and_multiply", "multiply", "multiply_each"):
        original = getattr(group, name)

        def counting(points: Any, *rest: Any, original: Any = original) -> Any:
            seen["multiplications"] += len(points)
            return original(points, *rest)

        monkeypatch.setattr(group, name, counting)
    return seen


@pytest.mark.parametrize(
    ("rows", "shared"), [((20, 30), 9), ((1, 1), 1), ((8, 17), 8), ((20, 30, 11), 9), ((5, 9, 30, 17), 3)]
)
def test_costs_are_the_formulas_of_the_readme(
    play: Any, monkeypatch: pytest.MonkeyPatch, rows: tuple[int, ...], shared: int
) -> None:
    seen = counter(monkeypatch)

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


@pytest.mark.parametrize(("n", "m", "shared"), [(20, 30, 9), (1, 1, 1), (17, 8, 3)])
def test_what_one_side_costs_is_the_formula_of_the_readme(
    play: Any, monkeypatch: pytest.MonkeyPatch, n: int, m: int, shared: int
) -> None:
    seen = counter(monkeypatch)

    def role(party: Party) -> Any:
        own = range(n) if party.name == "bank" else range(n - shared, n - shared + m)
        intersect.intersect(party, encode(np.array(own)), pad=False)
        return [e for e in party.ledger.entries() if e.sender == party.name]

    for entries in play(dict.fromkeys(NAMES[:2], role), intersect.MESSAGES).values():
        for entry in entries:
            seen[entry.message.split(".")[-1]] += entry.bytes
    assert dict(seen) == one_sided(n, m)


@pytest.mark.parametrize("verifiable", [False, True])
def test_what_tables_cost_is_the_formula_of_the_readme(
    play: Any, monkeypatch: pytest.MonkeyPatch, verifiable: bool
) -> None:
    rows, queries, label = bucket(300), bucket(20), 5
    seen = counter(monkeypatch)
    table = tables.build(encode(np.arange(300)), np.zeros((300, label), np.uint8), verifiable=verifiable)
    assert seen.pop("multiplications") == 300

    def role(party: Party) -> Any:
        if party.name == "bank":
            unbalanced.sender(party, table)
        else:
            unbalanced.receiver(party, encode(np.arange(20)), verifiable=verifiable)
        return [e for e in party.ledger.entries() if e.sender == party.name]

    for entries in play({"shop": role, "bank": role}, (session.Hello, *unbalanced.MESSAGES)).values():
        for entry in entries:
            seen[entry.message.split(".")[-1]] += entry.bytes
    tag, prefix = tag_size(rows, tables.QUERIES), unbalanced.prefix_size(rows)
    proofs = 64 * verifiable * chunks(queries)
    points = 32 * queries + HEADER * chunks(queries)
    few = 1 + 5 * verifiable * chunks(queries)  # the check of the public key, and what a proof costs whatever its size
    assert seen.pop("multiplications") == queries * (3 + 3 * verifiable) + few
    assert seen.pop("Answers") == points + proofs + 8 * chunks(queries)
    assert seen == {
        "Hello": 2 * 136,
        "Offer": 8 + 3 * (8 + 32) + 2 * 8 + 1,
        "Wanted": 9,
        "Prefixes": 4 * 256**prefix + HEADER * chunks(256**prefix),
        "Tails": (tag - prefix) * rows + HEADER * chunks(rows),
        "Labels": (label + 16) * rows + HEADER * chunks(rows),
        "Queries": points,
    }


def test_the_bytes_of_a_row_are_those_of_the_readme() -> None:
    assert f"{2 * POINT_BYTES + tag_size(10**6, 10**6)} bytes a row and a bit" in README.read_text()


def test_readme_blocks_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})
