"""A process of a run is killed or stands still, at any moment.

Everybody else ends in time and says who was lost, nothing is left behind, the same job submitted again succeeds.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.errors import LinkLost
from node.local import LocalFederation
from node.operator import Operator

PARTIES = ("bank", "telco", "shop")
HEARTBEAT = 1.0
IN_TIME = 3 * HEARTBEAT + 7  # seconds: three heartbeats, the second of hindsight, the grace of a child; a busy machine


def eventually(holds: Callable[[], Any], seconds: float = IN_TIME) -> Any:
    """Wait until this is true and return it."""
    deadline = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)
    return value


def processes(folder: Path) -> dict[int, str]:
    """Return the processes whose command line names something in this folder: pid -> command line; no zombies."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it has just ended
                continue
            if str(folder) in command:
                found[int(entry.name)] = command
    return found


class Scene:
    """A federation whose processes are struck, and what must be true of it afterwards."""

    def __init__(self, federation: LocalFederation, tables: Any) -> None:
        self.federation = federation
        self._tables = tables

    def submit(self, operator: Operator, *parties: str) -> str:
        """Submit the job of these parties."""
        job = self._tables.job(*parties)
        for name, data in job.parties.items():
            self.federation.register(name, data.sources())
        return operator.submit(job.with_named_sources())

    def run_processes(self, party: str = "") -> list[int]:
        """Return the run processes of a party, or of all."""
        folder = self.federation.folder(party) if party else self.federation.directory
        return [pid for pid, command in processes(folder).items() if "node.run" in command]

    def pid(self, target: str) -> int:
        """Return the process of "coordinator", of a party's worker, or of "PARTY's run"."""
        party, _, run = target.partition("'s ")
        if not run:
            return self.federation.processes[target].pid
        return int(eventually(lambda: self.run_processes(party))[0])

    def strike(self, target: str, blow: signal.Signals) -> None:
        """Send a process a signal."""
        os.kill(self.pid(target), blow)

    def revive(self, target: str) -> None:
        """Bring a killed process back, and wait until every worker is connected."""
        if target in self.federation.processes:
            self.federation.processes[target].wait(5)
            self.federation.stop(target)
            if target == "coordinator":
                self.federation.start_coordinator()
            else:
                self.federation.start_workers(target)
        self.wait_for_workers()

    def wait_for_workers(self) -> None:
        """Wait until every worker is connected."""
        eventually(lambda: self.workers() == sorted(self.federation.workers), 20)

    def workers(self) -> list[str]:
        """Return who is connected; nobody while there is no coordinator."""
        with self.federation.operator() as operator:
            try:
                return list(operator.status()["workers"])
            except LinkLost:
                return []

    def check_nothing_is_left(self) -> None:
        """No run process, no half of a result, a sound database."""
        eventually(lambda: not self.run_processes())
        folders = [self.federation.folder(party) / "runs" for party in self.federation.workers]
        eventually(lambda: not [partial for folder in folders for partial in folder.glob(".*")])
        database = sqlite3.connect(
            f"file:{self.federation.directory / 'coordinator' / 'synergos.db'}?mode=ro", uri=True
        )
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        live = "SELECT id FROM run WHERE state NOT IN ('finished', 'failed', 'refused', 'cancelled')"
        assert database.execute(live).fetchall() == []
        database.close()

    def check_the_job_succeeds(self, *parties: str) -> None:
        """The same job, submitted again."""
        with self.federation.operator() as operator:
            run = self.submit(operator, *parties)
            operator.follow(run, lambda event: None)
            assert operator.results(run)["metrics"]["evaluate"]["auc"] > 0.7


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, tables: Any) -> Iterator[Scene]:
    """A federation for all tests of this file; each leaves it whole."""
    with LocalFederation(tmp_path_factory.mktemp("lost") / "f", PARTIES, HEARTBEAT) as federation:
        yield Scene(federation, tables)


def wait_for(events: Iterator[Any], moment: str) -> None:
    """Follow a run to the first event of this state or stage; "trained": to a party's last step of training."""
    for event in events:
        stage = event.body.get("stage")
        if stage == "train" and event.body["done"] == event.body["total"]:
            stage = "trained"
        if moment in (event.body.get("state"), stage):
            return
    raise AssertionError(f"the run ended before {moment}")


def ending(events: Iterator[Any]) -> tuple[str, str]:
    """Follow a run to its end; return its state and why."""
    *_, last = [event.body for event in events if event.kind == "state"]
    return last["state"], last["why"]


@contextmanager
def soon() -> Iterator[None]:
    """What happens in this block does so in time."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < IN_TIME


MOMENTS = ("proposed", "establishing", "align", "train")
STRUCK = [
    *((target, moment) for target in ("telco", "bank") for moment in MOMENTS),
    *(("telco's run", moment) for moment in MOMENTS[1:]),
    *(("bank's run", moment) for moment in MOMENTS[2:]),
]


@pytest.mark.parametrize(("target", "moment"), STRUCK)
def test_a_killed_process_of_a_party_is_named_to_everybody(scene: Scene, target: str, moment: str) -> None:
    with scene.federation.operator() as operator:
        run = scene.submit(operator, "bank", "telco")
        events = operator.watch(run)
        wait_for(events, moment)
        scene.strike(target, signal.SIGKILL)
        with soon():
            state, why = ending(events)
        assert state == "failed"
        party, _, process = target.partition("'s ")
        assert why.startswith(f"{party} was lost: ")
        if process:
            assert "its run process ended by SIGKILL" in why
        assert operator.status(run)["why"] == why
    scene.revive(target)
    scene.check_nothing_is_left()
    if moment == "train" and party == "telco":
        scene.check_the_job_succeeds("bank", "telco")


@pytest.mark.parametrize("moment", [*MOMENTS, "finishing"])
def test_a_killed_coordinator_is_named_to_everybody(scene: Scene, moment: str) -> None:
    with scene.federation.operator() as operator:
        run = scene.submit(operator, "bank", "telco")
        events = operator.watch(run)
        wait_for(events, moment)
        scene.strike("coordinator", signal.SIGKILL)
        with soon(), pytest.raises(LinkLost, match="coordinator was lost"):
            ending(events)
    with soon():
        eventually(lambda: not scene.run_processes())
    scene.revive("coordinator")
    with scene.federation.operator() as operator:
        status = operator.status(run)
    assert (status["state"], status["why"]) == ("failed", "the coordinator was restarted")
    scene.check_nothing_is_left()
    for party in ("bank", "telco"):
        assert "coordinator was lost" in (scene.federation.directory / "logs" / f"{party}.log").read_text()
    if moment == "train":
        scene.check_the_job_succeeds("bank", "telco")


def test_a_coordinator_that_is_asked_to_end_says_so_first(scene: Scene) -> None:
    with scene.federation.operator() as operator:
        run = scene.submit(operator, "bank", "telco")
        events = operator.watch(run)
        wait_for(events, "align")
        scene.strike("coordinator", signal.SIGTERM)
        with soon():
            assert ending(events) == ("failed", "coordinator was lost: it was stopped")
    scene.revive("coordinator")
    with scene.federation.operator() as operator:
        assert operator.status(run)["why"] == "coordinator was lost: it was stopped"
    scene.check_nothing_is_left()


@pytest.mark.parametrize("target", ["telco", "bank"])
def test_a_worker_killed_before_the_last_word(scene: Scene, target: str) -> None:
    with scene.federation.operator() as operator:
        run = scene.submit(operator, "bank", "telco")
        events = operator.watch(run)
        wait_for(events, "trained")
        bank = scene.pid("bank")
        os.kill(bank, signal.SIGSTOP)  # so that its report waits: without it the run cannot finish
        try:
            wait_for(events, "finishing")
            scene.strike(target, signal.SIGKILL)
        finally:
            os.kill(bank, signal.SIGCONT)
        with soon():
            state, why = ending(events)
    assert state == "failed"
    assert why.startswith(f"{target} was lost: ")
    scene.revive(target)
    scene.check_nothing_is_left()
    kept = scene.federation.folder(target) / "runs"
    assert [f for f in kept.glob("unconfirmed-*") if not (f / "summary.json").exists()] == []
    assert not (kept / run).exists()


@pytest.mark.parametrize(("target", "moment"), [("telco", "align"), ("telco's run", "train"), ("telco", "proposed")])
def test_a_process_that_stands_still_is_as_good_as_dead(scene: Scene, target: str, moment: str) -> None:
    with scene.federation.operator() as operator:
        run = scene.submit(operator, "bank", "telco")
        events = operator.watch(run)
        wait_for(events, moment)
        stopped = scene.pid(target)
        os.kill(stopped, signal.SIGSTOP)
        try:
            with soon():
                state, why = ending(events)
            assert state == "failed"
            assert why.startswith("telco was lost: ")
            assert "missed three heartbeats" in why
            eventually(lambda: not scene.run_processes("bank"))
        finally:
            if target == "telco":
                os.kill(stopped, signal.SIGCONT)
    scene.wait_for_workers()
    scene.check_nothing_is_left()


def test_a_coordinator_that_stands_still_keeps_nobody_waiting(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.operator._PULSE", 1.5)
    with scene.federation.operator() as operator:
        run = scene.submit(operator, "bank", "telco")
        events = operator.watch(run)
        wait_for(events, "train")
        scene.strike("coordinator", signal.SIGSTOP)
        try:
            with soon(), pytest.raises(LinkLost, match=r"coordinator was lost: what listens at .* stands still"):
                ending(events)
            with soon():
                eventually(lambda: not scene.run_processes())
        finally:
            scene.strike("coordinator", signal.SIGCONT)
    scene.wait_for_workers()
    with scene.federation.operator() as operator:
        state, why = ending(operator.watch(run))
        assert state == "failed"
        assert "was lost" in why
    scene.check_nothing_is_left()


def test_of_three_parties_both_others_name_the_lost_one(scene: Scene) -> None:
    with scene.federation.operator() as operator:
        run = scene.submit(operator, *PARTIES)
        events = operator.watch(run)
        wait_for(events, "train")
        scene.strike("shop's run", signal.SIGKILL)
        with soon():
            assert ending(events) == (
                "failed",
                f"shop was lost: its run process ended by SIGKILL; {run}.log at that worker may say why",
            )
    scene.check_nothing_is_left()
    for party in ("bank", "telco"):
        assert "the run is failed: shop was lost" in (scene.federation.directory / "logs" / f"{party}.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("target", ["coordinator", "telco", "telco's run"])
def test_with_the_heartbeat_of_a_real_federation(
    tmp_path: Path, tables: Any, target: str, blow: signal.Signals
) -> None:
    with LocalFederation(tmp_path / "f", ("bank", "telco")) as federation, federation.operator() as operator:
        scene = Scene(federation, tables)
        run = scene.submit(operator, "bank", "telco")
        events = operator.watch(run)
        wait_for(events, "train")
        begun, struck = time.monotonic(), scene.pid(target)
        os.kill(struck, blow)
        if target == "coordinator":
            with pytest.raises(LinkLost, match="coordinator was lost"):
                ending(events)
        else:
            state, why = ending(events)
            assert (state, why[:16]) == ("failed", "telco was lost: ")
        eventually(lambda: not set(scene.run_processes()) - {struck}, 30)
        assert time.monotonic() - begun < 30
        if blow is signal.SIGSTOP and target != "telco's run":
            os.kill(struck, signal.SIGCONT)
