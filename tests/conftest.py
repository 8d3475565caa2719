"""How tests run a protocol: `play` gives every role a party and runs all of them to their end.

`links` is the one place to add another way for messages to travel; every test that uses `play` then runs over it too.
A test that makes sense on one way only says so: `@pytest.mark.parametrize("links", ["in memory"], indirect=True)`.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import HealthCheck, settings

from engine.randomness import random_bytes
from engine.runtime.local import Network, run
from engine.runtime.noise import RunKeys
from engine.runtime.party import Party
from node import dial, keys, wire
from node.attach import Attachment
from node.link import Link
from node.relay import Relay

Role = Callable[[Party], Any]
Roles = Mapping[str, Role]
Play = Callable[..., dict[str, Any]]
MEMORY, GRPC = "in memory", "over gRPC"
FEDERATION = "tests"

# A busy machine is slow, and no property here is about time.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# Whoever starts the tests in the background may have them ignore Ctrl-C, and every process that they start too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=[MEMORY, GRPC])
def links(request: pytest.FixtureRequest) -> str:
    """The name of the way in which messages travel."""
    return str(request.param)


@pytest.fixture
def play(links: str, request: pytest.FixtureRequest) -> Play:
    """Return `play(roles, messages, policies=..., **options)`.

    Args:
        roles: party -> its role, a function of its `Party`; the first party is the label holder.
        messages: the message classes that may travel.
        policies: party -> its Policy, where not the default.
        options: further arguments of every `Party`.

    Returns:
        {party: what its role returned}; the first cause is raised if one fails.
    """
    played: Play = in_memory if links == MEMORY else request.getfixturevalue("loopback").play
    return played


def in_memory(
    roles: Roles, messages: Collection[type[Any]], policies: Mapping[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """Play with a queue between every two parties."""
    network = Network(tuple(roles))
    parties = {
        name: Party(name, tuple(roles), network.links(name), messages, policy=(policies or {}).get(name), **options)
        for name in roles
    }
    return run(network, {name: partial(role, parties[name]) for name, role in roles.items()})


@pytest.fixture(scope="session")
def loopback() -> Iterator[Loopback]:
    """A relay that serves this session's tests."""
    serving = Loopback()
    yield serving
    serving.stop()


class Loopback:
    """A coordinator's relay in a thread, with mutual TLS and throw-away keys; parties attach to it as on nodes."""

    def __init__(self) -> None:
        self._authority, self._relay = keys.Authority(FEDERATION), Relay(FEDERATION)
        self._members: dict[str, tuple[keys.Tls, RunKeys]] = {}
        self._lock, self._started = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="relay")
        self._thread.start()
        assert self._started.wait(20)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        tls = self._authority.coordinator()
        server = grpc.aio.server(options=wire.MESSAGE_OPTIONS)
        server.add_generic_rpc_handlers((self._relay.handler(),))
        credentials = grpc.ssl_server_credentials([(tls.key, tls.chain)], tls.root, require_client_auth=True)
        self._address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
        await server.start()
        self._started.set()
        await self._over.wait()
        await server.stop(0)

    def stop(self) -> None:
        """End the relay and its thread."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def play(
        self, roles: Roles, messages: Collection[type[Any]], policies: Mapping[str, Any] | None = None, **options: Any
    ) -> dict[str, Any]:
        """Play with a sealed link over the relay between every two parties."""
        run_id, results, causes = random_bytes(16).tobytes(), {}, []

        def at(name: str) -> None:
            try:
                with self._attached(run_id, name, tuple(roles)) as links:
                    try:
                        policy = (policies or {}).get(name)
                        party = Party(name, tuple(roles), links, messages, policy=policy, **{"timeout": 60.0} | options)
                        results[name] = roles[name](party)
                    except BaseException as error:
                        causes.append(error)  # before anybody else hears of it
                        raise
            except BaseException as error:
                causes.append(error)

        if len(roles) > 1:
            self._relay.open(run_id, tuple(roles))
        threads = [threading.Thread(target=at, args=(name,), name=f"role {name}", daemon=True) for name in roles]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._relay.close(run_id, "the test is over")
        if causes:
            raise causes[0]
        return {name: results[name] for name in roles}

    @contextmanager
    def _attached(self, run_id: bytes, me: str, parties: tuple[str, ...]) -> Iterator[dict[str, Link]]:
        """Give a party its links for the length of a block, which they are told the end of."""
        if len(parties) == 1:
            yield {}
            return
        tls, run_keys = self._member(me)
        with Attachment(
            self._address,
            dial.credentials(tls),
            run=run_id,
            me=me,
            parties=parties,
            keys=run_keys,
            peer_public={peer: self._member(peer)[1].public() for peer in parties if peer != me},
            manifest_digest=bytes(32),
            establish=30.0,
            options=dial.options(self._address),
        ) as attachment:
            links = attachment.links()
            for link in links.values():
                link.networked = False  # what encrypts nothing refuses a network; here it never leaves the machine
            yield links

    def _member(self, name: str) -> tuple[keys.Tls, RunKeys]:
        with self._lock:
            if name not in self._members:
                tls = self._authority.client(keys.worker_uri(FEDERATION, name, "one"))
                self._members[name] = tls, RunKeys.generate()
            return self._members[name]
