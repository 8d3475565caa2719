"""One interface, two schemes: what each can do is what its page says, and they compute the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import Misuse
from engine.he import additive
from engine.he.elgamal import Elgamal
from engine.he.paillier import Paillier

CAPABILITIES = ["Adds", "Compresses", "Encrypts", "Multiplies", "Serialises", "SumsByList"]
COLUMNS = {"paillier": 2, "elgamal": 3}
VALUES = np.array([3, -4, 0, 2**15 - 1, -(2**15) + 1])


@pytest.fixture(scope="module")
def owners() -> dict[str, tuple[Any, Any]]:
    """Schemes with a key each."""
    schemes = (Paillier(2048), Elgamal(bits=15, sum_bits=24, table_bits=12))
    return {scheme.name: (scheme, scheme.key()) for scheme in schemes}


@pytest.fixture(params=COLUMNS)
def scheme(request: pytest.FixtureRequest, owners: dict[str, tuple[Any, Any]]) -> tuple[Any, Any]:
    return owners[request.param]


def stated(name: str) -> dict[str, list[str]]:
    """Return the capabilities that the page gives a scheme, with their methods."""
    page = (Path(additive.__file__).parent / "ADDITIVE.md").read_text()
    rows = [row.strip("|").split("|") for row in re.findall(r"^\| `[A-Z].*\|$", page, re.MULTILINE)]
    assert len(rows) == len(CAPABILITIES)
    return {row[0].strip(" `"): re.findall(r"\w+", row[1]) for row in rows if row[COLUMNS[name]].strip()}


def methods_of(capability: type) -> list[str]:
    return [name for name in vars(capability) if not name.startswith("_")]


def test_each_scheme_can_do_what_its_page_says_and_no_more(scheme: tuple[Any, Any]) -> None:
    keys = (scheme[1].public, scheme[0].peer(scheme[1].public.public))
    said = stated(scheme[0].name)
    for key in keys:
        assert [name for name in CAPABILITIES if isinstance(key, getattr(additive, name))] == sorted(said)
    for name, methods in said.items():
        assert sorted(methods_of(getattr(additive, name))) == sorted(methods)


def test_a_key_that_lacks_one_method_lacks_the_capability() -> None:
    class Half:
        def add(self, a: int, b: int) -> int:
            return a + b

    assert Half().add(1, 2) == 3
    assert not isinstance(Half(), additive.Adds)


def test_the_whole_interface_computes_what_integers_do(scheme: tuple[Any, Any]) -> None:
    """From the owner to a peer, whose answers come back and are read at the bound that the peer's ciphertexts keep."""
    owner, peer = scheme[1], scheme[0].peer(scheme[1].public.public)

    def received(answer: Any) -> list[int]:
        sent = peer.to_bytes(answer)
        assert sent.dtype == np.uint8
        assert len(sent) == len(answer)
        assert not np.array_equal(sent, peer.to_bytes(peer.rerandomise(answer)))
        found: list[int] = owner.decrypt(owner.public.from_bytes(sent, bound=answer.bound)).reshape(-1).tolist()
        return found

    a = peer.from_bytes(owner.public.to_bytes(owner.public.encrypt(VALUES)), bound=2**15 - 1)
    assert a.bound == 2**15 - 1
    assert received(a) == VALUES.tolist()
    assert received(peer.add(a, a)) == (2 * VALUES).tolist()
    assert received(peer.subtract(a, peer.times(a, np.array([3])))) == (-2 * VALUES).tolist()
    scalars = np.array([7, -7, 0, 1, -1])
    assert received(peer.times(a, scalars)) == (scalars * VALUES).tolist()
    offsets, members = np.array([0, 3, 3, 7]), np.array([0, 1, 2, 4, 3, 0, 0])
    assert received(peer.sum_by_list(a, offsets, members)) == [-1, 0, 6]


@pytest.mark.parametrize(
    ("offsets", "members"), [([0, 2], [0]), ([1, 1], [0]), ([0, 2, 1], [0]), ([0, 1], [5]), ([0, 1], [-1]), ([], [])]
)
def test_lists_that_are_none_are_misuse(scheme: tuple[Any, Any], offsets: list[int], members: list[int]) -> None:
    public = scheme[1].public
    with pytest.raises(Misuse):
        public.sum_by_list(public.encrypt(VALUES), np.array(offsets, dtype=np.int64), np.array(members, dtype=np.int64))


def test_bounds_and_scalars_that_do_not_fit_are_misuse(scheme: tuple[Any, Any]) -> None:
    public = scheme[1].public
    a = public.encrypt(VALUES)
    for mistake in (
        lambda: public.from_bytes(public.to_bytes(a), bound=2**2048),
        lambda: public.from_bytes(public.to_bytes(a), bound=-1),
        lambda: public.times(a, np.zeros((5, 5), dtype=np.int64)),
        lambda: public.times(a, np.array([1, 2])),
    ):
        with pytest.raises(Misuse):
            mistake()
