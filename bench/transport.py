"""Messages between two parties through the coordinator's relay, and gRPC's own streams beside it.

Ours crosses two gRPC streams under mutual TLS, and its records are sealed between the parties besides. The peer is one
stream from a client to a server, in clear and in the same process, as ours are: the least that gRPC can cost. CPU is
that of both parties and the relay together; a round trip is one small message there and one back, by the clock.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import grpc

from bench.clock import cpu_seconds
from bench.contest import Contest
from bench.peers import Peer
from engine.runtime.noise import RunKeys
from node import dial, wire
from node.attach import Attachment
from node.keys import Authority, worker_uri
from node.relay import Relay

if TYPE_CHECKING:
    from node.link import Link

PARTIES = ("bank", "telco")
FEDERATION = "bench"
SMALL = bytes(64)
TRIPS = 300
WAIT = 60.0
QUICK = 64
FULL = 512


def contests(quick: bool) -> list[Contest]:
    """Return the one contest of this suite."""
    return [contest(QUICK if quick else FULL, TRIPS)]


def contest(megabytes: int, trips: int) -> Contest:
    """Return the contest of this many messages of 1 MiB one way, and of this many round trips."""
    sizes = (str(megabytes), str(trips))
    return Contest(
        suite="transport",
        size=f"{megabytes} x 1 MiB, {trips:,} x {len(SMALL)} bytes",
        cases={"stream": ("relay stream", "us CPU/MiB"), "trip": ("relay round trip", "us")},
        ours=lambda: _measure(megabytes, trips),
        peers=(Peer("grpcio 1.85.1 in clear, one hop", "grpc", "raw_grpc", ("stream", "trip"), sizes),),
    )


def _measure(megabytes: int, trips: int) -> dict[str, float]:
    block = bytes(1 << 20)
    with _links() as (bank, telco):
        answering = threading.Thread(target=_answer, args=(telco, megabytes, trips), daemon=True)
        answering.start()

        def stream() -> None:
            for _ in range(megabytes):
                bank.put([block])
            bank.take(len(SMALL), WAIT)

        seconds = cpu_seconds(stream)
        start = time.perf_counter()
        for _ in range(trips):
            bank.put([SMALL])
            bank.take(len(SMALL), WAIT)
        trip = (time.perf_counter() - start) / trips
        answering.join(WAIT)
    return {"stream": seconds / megabytes * 1e6, "trip": trip * 1e6}


def _answer(link: Link, megabytes: int, trips: int) -> None:
    """Take everything, say so, then send back what comes."""
    for _ in range(megabytes):
        link.take(1 << 20, WAIT)
    link.put([SMALL])
    for _ in range(trips):
        link.put([link.take(len(SMALL), WAIT)])


@contextmanager
def _links() -> Iterator[tuple[Link, Link]]:
    """Attach two parties to a relay of their own; give their links to each other."""
    authority, run = Authority(FEDERATION), bytes(16)
    keys = {name: RunKeys.generate() for name in PARTIES}
    with _relay(authority, run) as address, ExitStack() as stack:
        attached = {
            me: stack.enter_context(
                Attachment(
                    address,
                    dial.credentials(authority.client(worker_uri(FEDERATION, me, "one"))),
                    run=run,
                    me=me,
                    parties=PARTIES,
                    keys=keys[me],
                    peer_public={peer: keys[peer].public() for peer in PARTIES if peer != me},
                    manifest_digest=bytes(32),
                    options=dial.options(address),
                )
            )
            for me in PARTIES
        }
        yield attached["bank"].links()["telco"], attached["telco"].links()["bank"]


@contextmanager
def _relay(authority: Authority, run: bytes) -> Iterator[str]:
    """Serve a relay with this run open from a thread of its own; give its address."""
    started: queue.SimpleQueue[tuple[str, Callable[[], object]]] = queue.SimpleQueue()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(authority, run, started)), daemon=True)
    thread.start()
    address, stop = started.get(timeout=WAIT)
    try:
        yield address
    finally:
        stop()
        thread.join(WAIT)


async def _serve(
    authority: Authority, run: bytes, started: queue.SimpleQueue[tuple[str, Callable[[], object]]]
) -> None:
    relay, tls, stopped = Relay(FEDERATION), authority.coordinator(), asyncio.Event()
    relay.open(run, PARTIES)
    server = grpc.aio.server(options=wire.MESSAGE_OPTIONS)
    server.add_generic_rpc_handlers((relay.handler(),))
    credentials = grpc.ssl_server_credentials([(tls.key, tls.chain)], tls.root, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    started.put((f"127.0.0.1:{port}", partial(asyncio.get_running_loop().call_soon_threadsafe, stopped.set)))
    await stopped.wait()
    await server.stop(0)
