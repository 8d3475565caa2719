"""The coordinator: workers connect to it, operators ask it, runs meet in its relay. It sees no data and holds no key.

One asyncio loop serves `Control` (a stream per worker), `Operator` (calls and `Watch`) and the relay's `Attach`, all on
one port that demands a client certificate of this federation. Who calls is known from that certificate alone.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import grpc
import grpc.aio

from engine.errors import EngineError, LinkLost, Misuse, PeerFault, Refused
from engine.jobfile import Job
from engine.randomness import random_bytes
from node import control, keys, process, wire
from node.conduct import Cancelled, Conductor, Grid
from node.errors_status import abort
from node.folders import CoordinatorFolder, coordinator_folder, split_address
from node.manifest import COORDINATOR, VALID, Proposal
from node.relay import Relay
from node.store import LIVE, Database

_FROM_WORKER = (control.Beat, control.Approved, control.Failed, control.Ready, control.Progress, control.Finished)
_JOB_LIMIT = 256 << 10  # bytes: the notes that carry it to workers, encoded twice, have a limit too
M = TypeVar("M")


class Connection:
    """A connected worker: what waits for it, when it was last heard, and how its stream ends."""

    def __init__(self, organisation: str, instance: str) -> None:
        self.organisation, self.instance = organisation, instance
        self.outbound: asyncio.Queue[bytes] = asyncio.Queue()
        self.heard = time.monotonic()
        self.ended: asyncio.Future[EngineError] = asyncio.get_running_loop().create_future()

    def tell(self, message: object) -> None:
        """Queue a message for the worker."""
        self.outbound.put_nowait(control.encode(message))

    def end(self, error: EngineError) -> None:
        """End the stream; the first call counts."""
        if not self.ended.done():
            self.ended.set_result(error)


class Coordinator:
    """Serves a federation.

    Args:
        ready: called once with the address that it listens on.
    """

    def __init__(self, folder: CoordinatorFolder, listen: str, ready: Callable[[str], None]) -> None:
        self._folder, self._listen, self._ready = folder, listen, ready
        self._log = process.logger(COORDINATOR)
        self._relay = Relay(folder.federation)
        self._connections: dict[str, Connection] = {}
        self._live: dict[str, Conductor] = {}  # by id
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Serve until cancelled; then every live run ends for everybody with that reason."""
        server, address = self._listening()
        self._database = Database(self._folder.database)
        self._changed = asyncio.Event()
        if abandoned := self._database.abandon("the coordinator was restarted"):
            self._log.warning(f"{abandoned} runs were live when the coordinator ended; they are marked as failed")
        await server.start()
        self._log.info(f"listening on {address}")
        self._ready(address)
        try:
            await server.wait_for_termination()
        finally:
            for conductor in self._live.values():
                conductor.inbox.put_nowait(("", LinkLost(COORDINATOR, "it was stopped")))
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=5)
                await asyncio.sleep(0.1)  # for the last words to leave
            await server.stop(0)
            self._database.close()

    def _listening(self) -> tuple[grpc.aio.Server, str]:
        options = (
            *wire.MESSAGE_OPTIONS,
            ("grpc.so_reuseport", 0),  # two coordinators never share a port
            ("grpc.http2.min_ping_interval_without_data_ms", 1000),  # operators who watch probe the connection
        )
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers((self._relay.handler(), self._control(), self._operator()))
        tls = self._folder.tls()
        credentials = grpc.ssl_server_credentials([(tls.key, tls.chain)], tls.root, require_client_auth=True)
        host, port = split_address(self._listen)
        host = f"[{host}]" if ":" in host else host
        try:
            port = server.add_secure_port(f"{host}:{port}", credentials)
        except RuntimeError:
            raise Misuse(
                f"nothing can listen on {self._listen}: another program does, or the address is not this machine's; "
                "stop that program or change `listen` in coordinator.toml"
            ) from None
        return server, f"{host}:{port}"

    # Workers.

    def _control(self) -> grpc.GenericRpcHandler:
        service, method = control.CONNECT.strip("/").split("/")
        return grpc.method_handlers_generic_handler(
            service, {method: grpc.stream_stream_rpc_method_handler(self._connect)}
        )

    async def _connect(self, _: Any, context: grpc.aio.ServicerContext) -> None:
        try:
            connection = await self._admit(context)
        except EngineError as error:
            await abort(context, error, COORDINATOR)
            return
        tasks = [asyncio.create_task(part(connection, context)) for part in (self._read, self._write, self._watch)]
        try:
            why = await connection.ended
        finally:  # also when the connection broke, which cancels this call
            for task in tasks:
                task.cancel()
            self._leave(connection)
        await asyncio.wait(tasks)  # gRPC takes no status while a write is under way
        await abort(context, why, COORDINATOR)

    async def _admit(self, context: grpc.aio.ServicerContext) -> Connection:
        organisation = self._caller(context).organisation
        if not organisation:
            raise Refused(COORDINATOR, "an operator's certificate connects no worker")
        try:
            async with asyncio.timeout(self._patience):
                hello = control.decode(await _next(context, organisation), (control.Hello,), organisation)
        except TimeoutError:
            raise LinkLost(organisation, "its worker said nothing") from None
        if hello.wire != wire.WIRE:
            raise Misuse(f"this coordinator speaks version {wire.WIRE} of the wire; install the matching software")
        if (older := self._connections.get(organisation)) is not None:
            if older.instance != hello.instance:
                raise Refused(COORDINATOR, f"a worker of {organisation} is connected already; stop one of the two")
            self._leave(older)
            older.end(LinkLost(organisation, "its worker connected anew"))
        connection = self._connections[organisation] = Connection(organisation, hello.instance)
        self._database.seen(organisation, hello.software[:64])
        connection.tell(control.Welcome(self._folder.heartbeat))
        self._log.info(f"the worker of {organisation} is connected")
        return connection

    def _leave(self, connection: Connection) -> None:
        organisation = connection.organisation
        if self._connections.get(organisation) is not connection:
            return
        del self._connections[organisation]
        self._log.info(f"the worker of {organisation} is gone")
        done = connection.ended.done() and not connection.ended.cancelled()
        lost = connection.ended.result() if done else LinkLost(organisation, "its worker's connection broke")
        for conductor in self._live.values():
            if organisation in conductor.parties:
                conductor.inbox.put_nowait((organisation, lost))

    async def _read(self, connection: Connection, context: grpc.aio.ServicerContext) -> None:
        organisation = connection.organisation
        try:
            while True:
                message: Any = control.decode(await _next(context, organisation), _FROM_WORKER, organisation)
                connection.heard = time.monotonic()
                conductor = None if isinstance(message, control.Beat) else self._live.get(message.run)
                if conductor is not None and organisation in conductor.parties:  # a late word about a run that is over
                    conductor.inbox.put_nowait((organisation, message))
        except EngineError as error:
            connection.end(error)
        except grpc.aio.BaseError:
            connection.end(LinkLost(organisation, "its worker's connection broke"))

    async def _write(self, connection: Connection, context: grpc.aio.ServicerContext) -> None:
        beat = control.encode(control.Beat())
        try:
            while True:
                try:
                    async with asyncio.timeout(self._folder.heartbeat):
                        note = await connection.outbound.get()
                except TimeoutError:
                    note = beat
                await context.write(note)
        except grpc.aio.BaseError:
            connection.end(LinkLost(connection.organisation, "its worker's connection broke"))

    async def _watch(self, connection: Connection, _: grpc.aio.ServicerContext) -> None:
        while (left := connection.heard + self._patience - time.monotonic()) > 0:
            await asyncio.sleep(left)
        connection.end(LinkLost(connection.organisation, "its worker missed three heartbeats"))

    @property
    def _patience(self) -> float:
        return 3 * self._folder.heartbeat

    def _tell(self, organisation: str, message: object) -> None:
        if (connection := self._connections.get(organisation)) is not None:
            connection.tell(message)

    # Operators.

    def _operator(self) -> grpc.GenericRpcHandler:
        calls = {
            control.SUBMIT: self._call(control.Submit, self._submit),
            control.STATUS: self._call(control.About, self._status),
            control.LEDGER: self._call(control.About, self._ledger),
            control.CANCEL: self._call(control.About, self._cancel),
            control.WATCH: grpc.unary_stream_rpc_method_handler(self._follow),
        }
        methods = {path.rsplit("/", 1)[1]: handler for path, handler in calls.items()}
        return grpc.method_handlers_generic_handler("synergos.v1.Operator", methods)

    def _call(self, kind: type[M], answer: Callable[[M, str], dict[str, Any]]) -> grpc.RpcMethodHandler:
        async def call(request: bytes, context: grpc.aio.ServicerContext) -> bytes | None:
            try:
                operator = self._authorised(context)
                return control.encode(control.Answer(answer(control.decode(request, (kind,), operator), operator)))
            except EngineError as error:
                await abort(context, error, COORDINATOR)
                return None

        return grpc.unary_unary_rpc_method_handler(call)

    def _submit(self, message: control.Submit, operator: str) -> dict[str, Any]:
        job = Job.from_json(message.job)
        if (size := len(job.canonical())) > _JOB_LIMIT:
            raise Misuse(
                f"the job has {size:,} bytes, more than {_JOB_LIMIT:,}: name columns by `columns` or `exclude`, "
                "whichever is shorter"
            )
        if away := [party for party in job.order if party not in self._connections]:
            raise Misuse(f"no worker of {' and '.join(away)} is connected to this coordinator: start it, submit again")
        grid = random_bytes(16).tobytes().hex()
        name = self._database.create(job, grid, operator)
        federation = self._folder.federation
        proposal = Proposal(federation, grid, name, job.to_json(), operator, time.time() + VALID)
        tools = Grid(self._database, self._relay, self._tell, self._wake, self._folder.heartbeat)
        self._live[grid] = Conductor(tools, name, job, proposal)
        task = asyncio.create_task(self._conduct(self._live[grid]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._log.info(f"{name} is proposed to {', '.join(job.order)}")
        return {"run": name}

    async def _conduct(self, conductor: Conductor) -> None:
        try:
            state, why = await conductor.conduct()
            self._log.info(f"{conductor.name} is {state}" + (f": {why}" if why else ""))
        except Exception:
            self._log.exception(f"{conductor.name} ended with a defect of the coordinator")
        finally:
            del self._live[conductor.id]

    def _status(self, message: control.About, _: str) -> dict[str, Any]:
        if message.run:
            return self._database.status(message.run)
        return {"workers": sorted(self._connections), "runs": self._database.runs()[:100]}

    def _ledger(self, message: control.About, _: str) -> dict[str, Any]:
        return {"entries": self._database.ledger(message.run)}

    def _cancel(self, message: control.About, operator: str) -> dict[str, Any]:
        state = self._database.status(message.run)["state"]
        for conductor in self._live.values():
            if conductor.name == message.run:
                conductor.inbox.put_nowait(("", Cancelled(operator)))
                return {"state": state}
        raise Misuse(f"{message.run} is {state} already: there is nothing to cancel")

    async def _follow(self, request: bytes, context: grpc.aio.ServicerContext) -> None:
        try:
            about = control.decode(request, (control.About,), self._authorised(context))
            async for event in self._events(about.run, about.after):
                await context.write(control.encode(event))
        except EngineError as error:
            await abort(context, error, COORDINATOR)

    async def _events(self, run: str, after: int) -> AsyncIterator[control.Event]:
        """Yield a run's events until the one that ends it."""
        while True:
            changed = self._changed
            over = self._database.status(run)["state"] not in LIVE
            for event in self._database.events(run, after):
                after = event.number
                yield event
            if over:
                return
            await changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _authorised(self, context: grpc.aio.ServicerContext) -> str:
        who = self._caller(context)
        if who.organisation:
            raise Refused(COORDINATOR, "a worker's certificate gives no right to submit or see jobs; use an operator's")
        return who.name

    def _caller(self, context: grpc.aio.ServicerContext) -> keys.Caller:
        who = keys.caller(context.auth_context().get("peer_uri", ()))
        if who is None or who.federation != self._folder.federation:
            raise Refused(COORDINATOR, "the client certificate names nobody of this federation")
        return who


async def _next(context: grpc.aio.ServicerContext, sender: str) -> bytes:
    note = await context.read()
    if note is grpc.aio.EOF:
        raise LinkLost(sender, "its worker closed the connection")
    if not isinstance(note, bytes):
        raise PeerFault(sender, "sent no note")
    return note


def main(arguments: list[str] | None = None) -> int:
    """Serve the folder named on the command line until a signal; print the address once it listens."""
    parser = argparse.ArgumentParser(prog="python -m node.coordinator", description="Serve a federation.")
    parser.add_argument("folder")
    parser.add_argument("--listen", help="host:port instead of the folder's setting; port 0 chooses a free one")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input is closed")
    options = parser.parse_args(arguments)
    if options.with_parent:
        process.end_with_stdin()
    return process.run(lambda: serve(options.folder, options.listen, lambda address: print(address, flush=True)))


def serve(folder: str, listen: str | None, ready: Callable[[str], None]) -> Awaitable[None]:
    """Serve a coordinator's folder until cancelled; raises Misuse if the folder or the port cannot be used."""
    settings = coordinator_folder(folder)
    return Coordinator(settings, listen or settings.listen, ready).serve()


if __name__ == "__main__":
    raise SystemExit(main())
