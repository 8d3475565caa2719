"""Primality by the suite of Wycheproof: primes of all sizes, and composites made to pass careless tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.he import primes

SUITE = json.loads((Path(__file__).parent.parent / "vectors/primality_wycheproof.json").read_text())


@pytest.mark.parametrize(("kind", "count"), [("prime", 66), ("composite", 237)])
def test_primes_are_told_from_composites(kind: str, count: int) -> None:
    numbers = [int(text, 16) for text in SUITE[kind]]
    assert len(numbers) == count
    wrong = [number for number in numbers if primes.is_prime(number) != (kind == "prime")]
    assert wrong == []


def test_fixed_bases_would_be_deceived() -> None:
    """The suite holds composites that pass for the smallest primes as bases: what our own draws are there for."""
    deceive = [int(text, 16) for text in SUITE["composite"]]
    strong = [n for n in deceive if n > 43 and not primes.has_small_factor(n)]
    assert any(all(primes._passes(n, base) for base in (2, 3, 5, 7, 11, 13, 17, 19, 23)) for n in strong)
    assert not any(primes.is_prime(n) for n in strong)
