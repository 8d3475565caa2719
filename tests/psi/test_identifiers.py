"""Keys are what the definition says, for one column and for several, whatever the lengths of their values."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from engine.psi.identifiers import Spec, encode


def framed(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part


def defined(spec: Spec, *parts: str) -> list[int]:
    """The key of one row, from the definition."""
    whole = framed(spec.text()) + b"".join(framed(part.encode()) for part in parts)
    return list(hashlib.sha256(whole).digest()[:16])


@pytest.mark.parametrize(
    "columns",
    [
        [["a", "bb", "ccc", "dd", "\u00e9t\u00e9"]],
        [["a", "bb", "ccc", "dd"]],
        [["x" * 200, "x" * 3, "y" * 200, "y" * 64]],
        [["a", "ab", "abc"], ["bc", "c", "x"]],
        [["a", "a", "bb"], ["1", "22", "1"], ["q" * 70, "q", "q"]],
    ],
)
def test_keys_are_those_of_the_definition(columns: list[list[str]]) -> None:
    arrays = tuple(np.array(column, dtype=object) for column in columns)
    spec = Spec(columns=len(columns))
    rows: list[Any] = list(zip(*columns, strict=True))
    assert encode(arrays).tolist() == [defined(spec, *row) for row in rows]


def test_form_comes_before_the_hash() -> None:
    spec = Spec(case="fold")
    assert encode(np.array([" Ada ", "BO"], dtype=object), spec).tolist() == [defined(spec, "ada"), defined(spec, "bo")]
    assert encode(np.array([7, -12])).tolist() == [defined(Spec(), "7"), defined(Spec(), "-12")]
    assert encode(np.array(["e\u0301"], dtype=object)).tolist() == [defined(Spec(), "\u00e9")]
