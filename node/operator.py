"""What a person does at the coordinator: submit a job, look at runs, follow one, end one. Calls block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any

import grpc

from engine.errors import EngineError, LinkLost, Misuse
from engine.jobfile import Job
from node import control, dial
from node.folders import OperatorFolder
from node.manifest import COORDINATOR

_PATIENCE = 30.0  # seconds for an answer
_PULSE = 5.0  # seconds of silence until the connection is probed, and as many to answer: `watch` may wait for hours
_PROBES = ("keepalive_time", "keepalive_timeout", "http2.ping_timeout")


class Unfinished(Exception):
    """A run ended otherwise than well: its last state, and why."""

    def __init__(self, run: str, state: str, why: str) -> None:
        super().__init__(f"{run} is {state}: {why}")
        self.state, self.why = state, why


class Operator:
    """An operator's connection to the coordinator.

    Args:
        address: the coordinator's, instead of the folder's setting.

    Every call raises Misuse for a run that does not exist, Refused for a certificate without the right, LinkLost if the
    coordinator cannot be reached; its text says why.
    """

    def __init__(self, folder: OperatorFolder, address: str | None = None) -> None:
        self._address, self._tls = address or folder.coordinator, folder.tls()
        options = (
            *dial.options(self._address),
            *((f"grpc.{name}_ms", round(1000 * _PULSE)) for name in _PROBES),
            ("grpc.http2.max_pings_without_data", 0),  # as many as it takes: who watches sends nothing else
        )
        self._channel = grpc.secure_channel(self._address, dial.credentials(self._tls), options)

    def __enter__(self) -> Operator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def submit(self, job: Job) -> str:
        """Propose a run of the job; return the run's name. Whether parties approve, `watch` tells."""
        return str(self._ask(control.SUBMIT, control.Submit(job.to_json()))["run"])

    def status(self, run: str = "") -> dict[str, Any]:
        """Return a run with its job and the parties' summaries, or {"workers", "runs"} if no run is named."""
        return self._ask(control.STATUS, control.About(run))

    def ledger(self, run: str) -> list[dict[str, Any]]:
        """Return what each party of a finished run sent, as its sender reported it."""
        entries: list[dict[str, Any]] = self._ask(control.LEDGER, control.About(run))["entries"]
        return entries

    def cancel(self, run: str) -> None:
        """Ask the coordinator to end a run; its state is "cancelled" soon after."""
        self._ask(control.CANCEL, control.About(run))

    def watch(self, run: str, after: int = 0) -> Iterator[control.Event]:
        """Yield a run's events, from its first or the one after `after`, until the one that ends it."""
        call = self._channel.unary_stream(control.WATCH)(control.encode(control.About(run, after)))
        try:
            for note in call:
                yield control.decode(note, (control.Event,), COORDINATOR)
        except grpc.RpcError:
            raise dial.failed(call, self._address, self._tls) from None
        finally:
            call.cancel()

    def follow(self, run: str, see: Callable[[control.Event], None]) -> None:
        """Show a run's events to `see` until it is finished; raise Unfinished if it ends otherwise.

        An interruption while waiting cancels the run.
        """
        last: dict[str, Any] = {}
        try:
            for event in self.watch(run):
                see(event)
                last = event.body if event.kind == "state" else last
        except KeyboardInterrupt:
            with suppress(EngineError):  # the run may be over, or the coordinator gone; the interruption is what counts
                self.cancel(run)
            raise
        if last["state"] != "finished":
            raise Unfinished(run, last["state"], last["why"])

    def results(self, run: str) -> dict[str, Any]:
        """Return a finished run's figures, shaped as `engine.simulate.simulate` gives them; Misuse if it has none."""
        from engine.simulate import combine

        status = self.status(run)
        if status["state"] != "finished":
            why = f": {status['why']}" if status["why"] else ""
            raise Misuse(f"{run} has no results, it is {status['state']}{why}")
        figures = combine(Job.from_json(status["job"]), status["summaries"], self.ledger(run))
        figures["seconds"]["total"] = round(status["ended_at"] - status["created_at"], 3)
        return figures

    def _ask(self, path: str, question: object) -> dict[str, Any]:
        try:
            note = self._channel.unary_unary(path)(control.encode(question), timeout=_PATIENCE)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise LinkLost(COORDINATOR, f"it gave no answer within {_PATIENCE:g} s") from None
            raise dial.failed(error, self._address, self._tls) from None
        return control.decode(note, (control.Answer,), COORDINATOR).value
