"""The coordinator's part in one run, told word by word: what it does with answers that are wrong, early or late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import LinkLost, Misuse, PeerFault, Refused
from engine.jobfile import Job, Model, PartyData
from engine.runtime.noise import RunKeys
from node import conduct, control, manifest
from node.conduct import Cancelled, Conductor, Grid
from node.keys import Identity
from node.manifest import Proposal
from node.relay import Relay
from node.store import Database

RUN = bytes(range(16)).hex()
JOB = Job(
    parties={"bank": PartyData(train="x", id=("id",), label="y"), "telco": PartyData(train="x", id=("id",))},
    model=Model(name="logistic_regression"),
)
ENTRY = {"sender": "bank", "receiver": "telco", "message": "Blinded", "protection": "blinded (DDH)"}
LEDGER = [{**ENTRY, "rank": 3, "messages": 1, "bytes": 32}]


class Stage:
    """A conductor between a real database and real relay, and parties that say what a test tells them to."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.told: list[tuple[str, Any]] = []
        self.identities = {party: Identity.generate() for party in JOB.order}
        self.name = database.create(JOB, RUN, "operator")
        proposal = Proposal("f", RUN, self.name, JOB.to_json(), "operator", time.time() + 60)
        self._proposal = proposal.encode()
        self._grid = Grid(database, Relay("f"), lambda *told: self.told.append(told), lambda: None, 0.05)
        self._parsed = proposal

    def approved(self, party: str) -> control.Approved:
        """What a party says when it takes part."""
        public = RunKeys.generate().public()
        signed = manifest.approve(self.identities[party], party, self._proposal, public, "")
        return control.Approved(RUN, signed.to_json())

    def finished(self, party: str, signed: list[Any] = LEDGER, **changes: Any) -> Callable[[], control.Finished]:
        """What a party says at the end, about the manifest that the coordinator has shown by then."""

        def say() -> control.Finished:
            whole = next(said.manifest for _, said in self.told if isinstance(said, control.Start))
            final = manifest.conclude(self.identities[party], party, whole, signed).to_json()
            return control.Finished(RUN, **{"final": final, "summary": {}, "ledger": signed} | changes)

        return say

    def play(self, *said: tuple[str, Any]) -> tuple[str, str]:
        """Let parties say this one after the other; return the run's last state and why."""

        async def conducted() -> tuple[str, str]:
            conductor = Conductor(self._grid, self.name, JOB, self._parsed)
            task = asyncio.create_task(conductor.conduct())
            for party, word in said:
                for _ in range(5):
                    await asyncio.sleep(0)
                conductor.inbox.put_nowait((party, word() if callable(word) else word))
            return await asyncio.wait_for(task, 10)

        return asyncio.run(conducted())

    def prelude(self) -> list[tuple[str, Any]]:
        """What is said until the run is running."""
        return [
            *((party, self.approved(party)) for party in JOB.order),
            *((party, control.Ready(RUN)) for party in JOB.order),
        ]

    def ended(self) -> list[tuple[str, str, str]]:
        """What each party was told at the end."""
        return [(party, said.state, said.why) for party, said in self.told if isinstance(said, control.Ended)]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    yield Stage(database)
    database.close()


def test_a_run_that_goes_well(stage: Stage) -> None:
    step = control.Progress(RUN, "train", 1, 2, {"loss": 0.5})
    last = [("bank", step), ("telco", stage.finished("telco")), ("bank", step), ("bank", stage.finished("bank"))]
    assert stage.play(*stage.prelude(), *last) == ("finished", "")
    assert stage.ended() == [("bank", "finished", ""), ("telco", "finished", "")]
    (ended,) = {tuple(said.finals) for _, said in stage.told if isinstance(said, control.Ended)}
    assert set(ended) == {"bank", "telco"}
    assert stage.database.ledger(stage.name) == LEDGER
    kinds = [event.kind for event in stage.database.events(stage.name)]
    assert kinds.count("progress") == 2
    assert "alert" not in kinds


def test_a_party_may_be_done_before_another_is_ready(stage: Stage) -> None:
    *before, last = stage.prelude()
    said = [*before, ("bank", stage.finished("bank")), last, ("telco", stage.finished("telco"))]
    assert stage.play(*said) == ("finished", "")


def test_ledgers_that_differ_are_an_alert_for_everybody_to_see(stage: Stage) -> None:
    other = [{**LEDGER[0], "bytes": 33}]
    said = [("bank", stage.finished("bank")), ("telco", stage.finished("telco", other))]
    assert stage.play(*stage.prelude(), *said) == ("finished", "")
    (alert,) = [event.body for event in stage.database.events(stage.name) if event.kind == "alert"]
    assert alert == {"what": "the ledgers differ between bank>telco"}


@pytest.mark.parametrize(
    ("said", "state", "why"),
    [
        (control.Failed.of(RUN, Refused("telco", "no"), "telco"), "refused", "telco refuses: no"),
        (control.Failed.of(RUN, Misuse("no such column"), "telco"), "refused", "no such column"),
        (control.Failed.of(RUN, PeerFault("bank", "lied"), "telco"), "failed", "bank lied"),
        (control.Failed(RUN, "Odd", "", ""), "failed", "telco"),
        (LinkLost("telco", "gone"), "failed", "telco was lost: gone"),
        (control.Ready(RUN), "failed", "telco sent an answer that nobody had asked for"),
        (Cancelled("ann"), "cancelled", "ann cancelled it"),
    ],
)
def test_what_ends_a_run_ends_it_for_everybody(stage: Stage, said: Any, state: str, why: str) -> None:
    ended, reason = stage.play(("bank", stage.approved("bank")), ("telco", said))
    assert (ended, reason.startswith(why)) == (state, True)
    assert stage.ended() == [(party, ended, reason) for party in JOB.order]
    assert (stage.database.status(stage.name)["state"], stage.database.status(stage.name)["why"]) == (ended, reason)


def test_the_word_of_the_blamed_party_counts_if_it_comes_soon(stage: Stage) -> None:
    blames = control.Failed.of(RUN, LinkLost("telco", "it closed the link"), "bank")
    knows = control.Failed.of(RUN, Refused("telco", "fewer customers than 100"), "telco")
    assert (
        stage.play(*stage.prelude(), ("bank", blames), ("telco", knows))[1] == "telco refuses: fewer customers than 100"
    )


def test_a_party_that_says_nothing_is_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conduct, "_APPROVE", 0.1)
    assert stage.play(("bank", stage.approved("bank"))) == ("failed", "telco was lost: it gave no answer within 0.1 s")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ledger": [{**LEDGER[0], "bytes": 99}]}, "reported another ledger than the one it signed"),
        ({"summary": {"metrics": {"train": {"auc": "high"}}}}, "reported a malformed ledger or metrics"),
        ({"final": {}}, "sent a malformed signed object"),
    ],
)
def test_a_wrong_report_is_the_fault_of_its_party(stage: Stage, changes: dict[str, Any], why: str) -> None:
    said = [("bank", stage.finished("bank")), ("telco", stage.finished("telco", **changes))]
    assert stage.play(*stage.prelude(), *said) == ("failed", f"telco {why}")


def test_records_that_cannot_be_written_keep_nobody_at_work(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> bool:
        raise OSError("no space left on device")

    monkeypatch.setattr(stage.database, "move", full)
    with pytest.raises(OSError, match="no space"):
        stage.play(*stage.prelude())
    assert stage.ended() == [(p, "failed", "the coordinator failed inside; its own log says more") for p in JOB.order]
