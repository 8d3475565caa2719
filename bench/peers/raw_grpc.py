"""gRPC itself: one stream in clear over loopback; arguments: messages of 1 MiB one way, round trips of 64 bytes."""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

from bench.clock import cpu_seconds
from bench.peers import answer

OPTIONS = (("grpc.max_send_message_length", 2 << 20), ("grpc.max_receive_message_length", 2 << 20))
SMALL = bytes(64)


def swallow(requests: Iterator[bytes], _: grpc.ServicerContext) -> bytes:
    """Take everything, then say so."""
    for _request in requests:
        pass
    return SMALL


def echo(requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
    """Send back what comes."""
    yield from requests


def main(megabytes: int, trips: int) -> None:
    """Serve, stream, then go back and forth on one stream."""
    server = grpc.server(ThreadPoolExecutor(2), options=OPTIONS)
    handlers = {
        "Swallow": grpc.stream_unary_rpc_method_handler(swallow),
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    block = bytes(1 << 20)
    with grpc.insecure_channel(f"127.0.0.1:{port}", (*OPTIONS, ("grpc.enable_http_proxy", 0))) as channel:
        send = channel.stream_unary("/bench/Swallow")
        send(iter([SMALL]))  # connects
        seconds = cpu_seconds(lambda: send(block for _ in range(megabytes)))
        start = time.perf_counter()
        _back_and_forth(channel, trips)
        trip = (time.perf_counter() - start) / trips
    server.stop(None)
    answer(stream=seconds / megabytes * 1e6, trip=trip * 1e6)


def _back_and_forth(channel: grpc.Channel, trips: int) -> None:
    """Send the next message when the last has come back."""
    outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    answers = channel.stream_stream("/bench/Echo")(iter(outgoing.get, None))
    for _ in range(trips):
        outgoing.put(SMALL)
        next(answers)
    outgoing.put(None)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
