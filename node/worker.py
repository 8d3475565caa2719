"""The worker: one organisation's node. It dials out to the coordinator, listens nowhere, plays the runs it approves.

One asyncio loop keeps the stream to the coordinator; what each run needs is in supervise.py. When the stream breaks,
the runs that were live end here, and the worker comes back on its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version

import grpc
import grpc.aio

from engine.errors import EngineError, LinkLost
from engine.randomness import random_bytes
from node import control, dial, process, wire
from node.folders import WorkerFolder, worker_folder
from node.manifest import COORDINATOR
from node.supervise import Supervised, sweep

_FROM_COORDINATOR = (control.Beat, control.Propose, control.Start, control.Ended)
_WELCOME = 20.0  # seconds to answer the first note
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts to connect


class Worker:
    """Serves one organisation.

    Args:
        address: the coordinator's, instead of the folder's setting.
        ready: called once, when the coordinator has admitted this worker for the first time.
    """

    def __init__(self, folder: WorkerFolder, address: str | None, ready: Callable[[str], None]) -> None:
        self._folder, self._me = folder, folder.organisation
        self._address = address or folder.coordinator
        self._tls = folder.tls()
        self._instance = random_bytes(16).tobytes().hex()
        self._log = process.logger(f"worker {self._me}")
        self._ready: Callable[[str], None] | None = ready
        self._runs: dict[str, Supervised] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Stay connected until cancelled.

        Raises:
            Refused, Misuse, PeerFault: trying again would not help; the text says what would.
        """
        sweep(self._folder)
        self._folder.policy()
        failures = 0
        while True:
            began = time.monotonic()
            try:
                await self._connected()
            except LinkLost as lost:
                self._log.warning(f"{lost}; trying again")
            finally:
                await self._end_all()
            failures = 0 if time.monotonic() - began > _LONGEST_PAUSE else failures + 1
            await asyncio.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**failures) * _jitter())

    async def _connected(self) -> None:
        """Connect and serve until the stream ends, which raises why."""
        credentials, options = dial.credentials(self._tls), dial.options(self._address)
        async with grpc.aio.secure_channel(self._address, credentials, options) as channel:
            call = channel.stream_stream(control.CONNECT)()
            try:
                await self._serve(call)
            except grpc.aio.AioRpcError as error:
                raise await asyncio.to_thread(dial.failed, error, self._address, self._tls) from None
            finally:
                call.cancel()

    async def _serve(self, call: grpc.aio.StreamStreamCall) -> None:
        await call.write(control.encode(control.Hello(wire.WIRE, version("synergos"), self._instance)))
        welcome = await _read(call, (control.Welcome,), _WELCOME)
        self._log.info(f"connected to the coordinator at {self._address}")
        if self._ready is not None:
            self._ready(f"{self._me} is connected to {self._address}")
            self._ready = None
        outbound: asyncio.Queue[bytes] = asyncio.Queue()
        writing = asyncio.create_task(_write(call, outbound, welcome.heartbeat))
        try:
            while True:
                message = await _read(call, _FROM_COORDINATOR, 3 * welcome.heartbeat)
                self._on(message, lambda said: outbound.put_nowait(control.encode(said)), welcome.heartbeat)
        finally:
            writing.cancel()
            await asyncio.wait([writing])

    def _on(self, message: object, tell: control.Say, heartbeat: float) -> None:
        if isinstance(message, control.Propose) and message.run not in self._runs:
            self._log.info("a run is proposed")
            run = self._runs[message.run] = Supervised(self._folder, message.run, tell, self._address, heartbeat)
            self._begin(run.propose(message.proposal))
        elif isinstance(message, control.Start) and message.run in self._runs:
            self._begin(self._runs[message.run].play(message.manifest))
        elif isinstance(message, control.Ended) and message.run in self._runs:
            self._log.info(f"the run is {message.state}" + (f": {message.why}" if message.why else ""))
            self._begin(self._runs.pop(message.run).end(message))

    def _begin(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(self._logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _logged(self, work: Awaitable[None]) -> None:
        try:
            await work
        except EngineError as error:
            self._log.error(str(error))
        except Exception:
            self._log.exception("a run met a defect of this worker")

    async def _end_all(self) -> None:
        runs, self._runs = list(self._runs.values()), {}
        await asyncio.gather(*(run.end(None) for run in runs))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)


async def _read(call: grpc.aio.StreamStreamCall, kinds: tuple[type[control.M], ...], patience: float) -> control.M:
    try:
        async with asyncio.timeout(patience):
            note = await call.read()
    except TimeoutError:
        raise LinkLost(COORDINATOR, f"it said nothing for {patience:g} s") from None
    if note is grpc.aio.EOF:
        await call.wait_for_connection()  # raises how the call ended
        raise grpc.aio.AioRpcError(
            await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details()
        )
    return control.decode(note, kinds, COORDINATOR)


async def _write(call: grpc.aio.StreamStreamCall, outbound: asyncio.Queue[bytes], heartbeat: float) -> None:
    beat = control.encode(control.Beat())
    with contextlib.suppress(grpc.aio.BaseError, asyncio.InvalidStateError):  # whoever reads the stream is told
        while True:
            try:
                async with asyncio.timeout(heartbeat):
                    note = await outbound.get()
            except TimeoutError:
                note = beat
            await call.write(note)


def _jitter() -> float:
    return 0.5 + int(random_bytes(1)[0]) / 256


def main(arguments: list[str] | None = None) -> int:
    """Serve the folder named on the command line until a signal; print a line once the coordinator has admitted it."""
    parser = argparse.ArgumentParser(prog="python -m node.worker", description="Serve one organisation.")
    parser.add_argument("folder")
    parser.add_argument("--coordinator", help="host:port instead of the folder's setting")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input is closed")
    options = parser.parse_args(arguments)
    if options.with_parent:
        process.end_with_stdin()
    return process.run(lambda: serve(options.folder, options.coordinator, lambda line: print(line, flush=True)))


def serve(folder: str, address: str | None, ready: Callable[[str], None]) -> Awaitable[None]:
    """Serve a worker's folder until cancelled; raises Misuse if the folder cannot be used."""
    return Worker(worker_folder(folder), address, ready).serve()


if __name__ == "__main__":
    raise SystemExit(main())
