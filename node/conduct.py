"""One live run, conducted by the coordinator from the first question to the last word.

    coordinator                                     every party's worker
    1  Propose                      ------>
                                    <------         Approved, or Failed: the run is refused
    2  Start, with the manifest     ------>
                                    <------         Ready, once its run process has shaken hands with every peer
    3                               <------         Progress ...
                                    <------         Finished, with its signed final, figures and ledger
    4  Ended                        ------>

At any point a party may refuse, fail or be lost, or an operator cancel: then the run ends for everybody, with one
sentence.
Each change of state is in the database before anybody is told.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from engine.errors import EngineError, LinkLost, Misuse, PeerFault, Refused
from engine.jobfile import Job
from engine.runtime.ledger import Entry
from node import control, manifest
from node.keys import Signed
from node.relay import Relay
from node.store import Database, Report, State

_APPROVE = 600.0  # seconds to read the data and decide
_ESTABLISH = 120.0
_HINDSIGHT = 1.0  # seconds that a reported failure waits for the word of the party it blames
M = TypeVar("M")


@dataclass(frozen=True)
class Cancelled:
    """An operator ended the run."""

    who: str


class Over(Exception):
    """The run ends here, in this state and for this reason."""

    def __init__(self, state: State, why: str) -> None:
        super().__init__(why)
        self.state, self.why = state, why


@dataclass(frozen=True)
class Grid:
    """What a conductor works with.

    Attributes:
        tell: sends a message to a party's worker, if it is still connected.
        changed: called after each write to the database.
    """

    database: Database
    relay: Relay
    tell: Callable[[str, object], None]
    changed: Callable[[], None]
    heartbeat: float


class Conductor:
    """Conducts one run; the coordinator puts into `inbox` what each party says, or the error that it was lost with."""

    def __init__(self, grid: Grid, name: str, job: Job, proposal: manifest.Proposal) -> None:
        self.name, self.id, self.parties = name, proposal.run, job.order
        self.inbox: asyncio.Queue[tuple[str, object]] = asyncio.Queue()
        self._grid = grid
        self._proposal = proposal.encode()

    async def conduct(self) -> tuple[State, str]:
        """Conduct the run to its end; return its last state and why."""
        finals: dict[str, Any] = {}
        state, why = State.FAILED, "the coordinator failed inside; its own log says more"
        try:
            whole = await self._approve()
            await self._establish(whole)
            reports = await self._play(whole)
            if not self._grid.database.finish(self.name, reports):
                raise Misuse("the run had ended before its last party finished")
            finals = {party: report.final for party, report in reports.items()}
            state, why = State.FINISHED, ""
        except Over as over:
            state, why = over.state, over.why
        except (Refused, Misuse) as error:
            state, why = State.REFUSED, str(error)
        except EngineError as error:
            why = str(error)
        finally:
            self._end(state, why, finals)
        return state, why

    def _end(self, state: State, why: str, finals: Mapping[str, Any]) -> None:
        try:
            if state is not State.FINISHED:
                self._grid.database.move(self.name, state, why)
        finally:  # a full disk keeps no party at work
            for party in self.parties:
                self._grid.tell(party, control.Ended(self.id, state, why, dict(finals)))
            self._grid.changed()
            self._grid.relay.close(bytes.fromhex(self.id), why or "it has finished")

    async def _approve(self) -> bytes:
        for party in self.parties:
            self._grid.tell(party, control.Propose(self.id, self._proposal))
        approvals = {}
        async for party, approved in self._each(control.Approved, _APPROVE):
            approvals[party] = Signed.from_json(approved.approval, party)
            self._note("approved", party, {})
        return manifest.Manifest(self._proposal, tuple(approvals[party] for party in self.parties)).encode()

    async def _establish(self, whole: bytes) -> None:
        self._move(State.APPROVED, manifest.digest(whole).hex())
        self._grid.relay.open(bytes.fromhex(self.id), self.parties, heartbeat=self._grid.heartbeat)
        self._move(State.ESTABLISHING)
        for party in self.parties:
            self._grid.tell(party, control.Start(self.id, whole))
        async for party, _ in self._each(control.Ready, _ESTABLISH):
            self._note("ready", party, {})
        self._move(State.RUNNING)

    async def _play(self, whole: bytes) -> dict[str, Report]:
        reports: dict[str, Report] = {}
        async for party, finished in self._each(control.Finished, None):
            reports[party] = _report(party, finished, whole)
            if len(reports) == 1:
                self._move(State.FINISHING)
            self._note("finished", party, {})
        if differing := unmirrored(reports):
            self._note("alert", "", {"what": f"the ledgers differ between {', '.join(differing)}"})
        return reports

    async def _each(self, kind: type[M], patience: float | None) -> AsyncIterator[tuple[str, M]]:
        """Yield one message of this class from each party as they come; raise the first cause if one does not send it.

        Progress may come in between, and the last message of a party that is ahead.
        """
        missing = set(self.parties)
        early: list[tuple[str, object]] = []
        deadline = None if patience is None else asyncio.get_running_loop().time() + patience
        while missing:
            try:
                async with asyncio.timeout_at(deadline):
                    party, said = await self.inbox.get()
            except TimeoutError:
                raise LinkLost(sorted(missing)[0], f"it gave no answer within {patience:g} s") from None
            if isinstance(said, kind) and party in missing:
                missing.remove(party)
                yield party, said
            elif isinstance(said, control.Progress):
                self._note("progress", party, {k: v for k, v in asdict(said).items() if k != "run"})
            elif isinstance(said, (control.Failed, EngineError, Cancelled)):
                raise await self._first_cause(party, said)
            elif isinstance(said, control.Finished):
                early.append((party, said))
            else:
                raise PeerFault(party, "sent an answer that nobody had asked for")
        for item in early:
            self.inbox.put_nowait(item)

    async def _first_cause(self, party: str, said: object) -> Exception:
        """Return why the run ends: the report of the party that is blamed, if it comes soon, knows more."""
        cause = _cause(party, said)
        blamed = getattr(cause, "peer", party)
        try:
            async with asyncio.timeout(min(_HINDSIGHT, self._grid.heartbeat)):
                while blamed in self.parties and party != blamed:
                    party, said = await self.inbox.get()
                    if party == blamed and isinstance(said, (control.Failed, EngineError)):
                        return _cause(party, said)
        except TimeoutError:
            pass
        return cause

    def _move(self, state: State, whole: str | None = None) -> None:
        if not self._grid.database.move(self.name, state, manifest=whole):
            raise Misuse(f"the run was no longer where {state} may follow")
        self._grid.changed()

    def _note(self, kind: str, party: str, body: Mapping[str, Any]) -> None:
        self._grid.database.note(self.name, kind, party, body)
        self._grid.changed()


def _cause(party: str, said: object) -> Exception:
    if isinstance(said, Cancelled):
        return Over(State.CANCELLED, f"{said.who} cancelled it")
    if isinstance(said, control.Failed):
        return said.error(party)
    assert isinstance(said, EngineError)
    return said


def _report(party: str, finished: control.Finished, whole: bytes) -> Report:
    """Check what a party reports; its signature is for the other parties to check, who know its identity."""
    final = manifest.read_final(Signed.from_json(finished.final, party).payload, party, whole)
    if final.ledger != hashlib.sha256(manifest.canonical(finished.ledger)).hexdigest():
        raise PeerFault(party, "reported another ledger than the one it signed")
    try:
        entries = [Entry(**entry) for entry in finished.ledger]
        texts = ("sender", "receiver", "message", "protection")
        if any(type(getattr(e, key)) is not (str if key in texts else int) for e in entries for key in asdict(e)):
            raise TypeError
        metrics = finished.summary.get("metrics", {})
        if any(type(value) is not float for part in metrics.values() for value in part.values()):
            raise TypeError
    except (TypeError, AttributeError):
        raise PeerFault(party, "reported a malformed ledger or metrics") from None
    return Report(finished.summary, finished.final, finished.ledger)


def unmirrored(reports: Mapping[str, Report]) -> list[str]:
    """Return the pairs, as "from>to", for which the sender's ledger is not the receiver's."""
    sides: dict[str, dict[str, list[str]]] = {}
    for party, report in reports.items():
        for entry in report.ledger:
            pair = f"{entry['sender']}>{entry['receiver']}"
            sides.setdefault(pair, {name: [] for name in pair.split(">")}).setdefault(party, []).append(
                manifest.canonical(entry).decode()
            )
    return [pair for pair, views in sides.items() if len({tuple(sorted(view)) for view in views.values()}) > 1]
