"""How tests run a protocol: `play` gives every role a party and runs all of them to their end.

`links` is the one place to add another way for messages to travel; every test that uses `play` then runs over it too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import pytest

from engine.runtime.local import Network, run
from engine.runtime.party import Party

Role = Callable[[Party], Any]
Play = Callable[..., dict[str, Any]]


@pytest.fixture(params=["in memory"])
def links(request: pytest.FixtureRequest) -> str:
    """The name of the way in which messages travel."""
    return str(request.param)


@pytest.fixture
def play(links: str) -> Play:
    """Return `play(roles, messages, policies=..., **options)`.

    Args:
        roles: party -> its role, a function of its `Party`; the first party is the label holder.
        messages: the message classes that may travel.
        policies: party -> its Policy, where not the default.
        options: further arguments of every `Party`.

    Returns:
        {party: what its role returned}; the first cause is raised if one fails.
    """

    def in_memory(
        roles: Mapping[str, Role],
        messages: Collection[type[Any]],
        policies: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        network = Network(tuple(roles))
        parties = {
            name: Party(name, tuple(roles), network.links(name), messages, policy=(policies or {}).get(name), **options)
            for name in roles
        }
        return run(network, {name: partial(role, parties[name]) for name, role in roles.items()})

    return {"in memory": in_memory}[links]
