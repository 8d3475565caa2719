"""Jobs on real processes over loopback: a run on nodes gives the figures of a simulation, keeps what it should, and
everything that cannot run is refused with a sentence."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import simulate
from engine.errors import LinkLost, Misuse, Refused
from engine.jobfile import Align, Job
from node import manifest
from node.conduct import unmirrored
from node.folders import init, operator_folder, worker_folder, write
from node.keys import Identity, Signed, fingerprint
from node.local import LocalFederation
from node.operator import Operator, Unfinished
from node.store import Report

Submit = Callable[[Job], str]
TWO, THREE = ("bank", "telco"), ("telco", "bank", "shop")
FILES = {"model.json", "report.json", "ledger.json", "manifest.json", "finals.json", "summary.json"}


def eventually(holds: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait until this is true and return it."""
    deadline = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)
    return value


def end(operator: Operator, run: str) -> tuple[str, str]:
    """Wait until a run has ended; return its state and why."""
    try:
        operator.follow(run, lambda event: None)
    except Unfinished as unfinished:
        return unfinished.state, unfinished.why
    return "finished", ""


def rows(ledger: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return a ledger's entries in one order."""
    return sorted(tuple(sorted(entry.items())) for entry in ledger)


@contextmanager
def changed(file: Path, content: str) -> Iterator[None]:
    """Give a file another content for the length of a block."""
    before = file.read_bytes()
    write(file, content.encode())
    yield
    write(file, before)


@pytest.mark.parametrize("parties", [TWO, THREE], ids=["two", "three"])
def test_a_run_on_nodes_gives_the_figures_of_a_simulation(
    submit: Submit, operator: Operator, tables: Any, parties: tuple[str, ...]
) -> None:
    job = tables.job(*parties)
    run = submit(job)
    assert end(operator, run) == ("finished", "")
    played, expected = operator.results(run), simulate.simulate(job)[0]
    for part, metrics in expected["metrics"].items():
        # Shares are cut with a random last bit: scores differ by about 1e-7 between any two runs of a job.
        assert played["metrics"][part]["log_loss"] == pytest.approx(metrics["log_loss"], abs=1e-5)
        assert played["metrics"][part] == pytest.approx(metrics, abs=1e-3)
        assert played["baseline"]["alone"][part] == pytest.approx(expected["baseline"]["alone"][part], abs=1e-9)
    assert played["rows"] == expected["rows"]
    assert played["bytes"] == expected["bytes"]
    assert rows(played["ledger"]) == rows(expected["ledger"])
    assert played["model"].keys() == expected["model"].keys()
    assert played["seconds"].keys() == expected["seconds"].keys()


@pytest.fixture(scope="module")
def finished(federation: LocalFederation, tables: Any) -> str:
    """A finished run of all three parties that also predicted."""
    job = tables.predicting(*THREE)
    with federation.operator() as operator:
        for name, data in job.parties.items():
            federation.register(name, data.sources())
        run = operator.submit(job.with_named_sources())
        assert end(operator, run) == ("finished", "")
    return run


def kept(federation: LocalFederation, party: str, run: str) -> Path:
    """Return the folder in which a party keeps a run's results, once it is there."""
    folder = federation.folder(party) / "runs" / run
    eventually(folder.exists)
    return folder


def test_each_party_keeps_its_own_results(federation: LocalFederation, finished: str, tables: Any) -> None:
    for party in THREE:
        folder = kept(federation, party, finished)
        assert {file.name for file in folder.iterdir()} == FILES | ({"scores.csv"} if party == "bank" else set())
        assert [file.name for file in folder.parent.glob(".*")] == []
        assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in folder.iterdir())
        own = {c for c in tables.frames[party] if c not in ("customer", "y")}
        assert own <= set(json.loads((folder / "report.json").read_text())["features"])
    scores = (kept(federation, "bank", finished) / "scores.csv").read_text().splitlines()
    held = [set(tables.frames[party]["customer"]) for party in THREE]
    assert scores[0] == "customer,score"
    assert {line.split(",")[0] for line in scores[1:]} == set.intersection(*held)


def test_every_party_can_prove_how_a_run_ended(federation: LocalFederation, operator: Operator, finished: str) -> None:
    for party in THREE:
        folder = kept(federation, party, finished)
        whole = (folder / "manifest.json").read_bytes()
        assert manifest.digest(whole).hex() == operator.status(finished)["manifest"]
        finals, pins = json.loads((folder / "finals.json").read_text()), worker_folder(federation.folder(party)).pins()
        for other in THREE:
            payload = Signed.from_json(finals[other], "coordinator").opened("final", other, pins[other])
            ledger = (kept(federation, other, finished) / "ledger.json").read_bytes()
            assert manifest.read_final(payload, other, whole).ledger == hashlib.sha256(ledger).hexdigest()


def test_both_sides_of_each_link_count_the_same(federation: LocalFederation, operator: Operator, finished: str) -> None:
    ledgers = {p: json.loads((kept(federation, p, finished) / "ledger.json").read_text()) for p in THREE}
    assert unmirrored({party: Report({}, {}, ledger) for party, ledger in ledgers.items()}) == []
    sent = [entry for party, ledger in ledgers.items() for entry in ledger if entry["sender"] == party]
    assert rows(operator.ledger(finished)) == rows(sent)
    assert not [event for event in operator.watch(finished) if event.kind == "alert"]


def test_what_the_coordinator_records(federation: LocalFederation, operator: Operator, finished: str) -> None:
    database = sqlite3.connect(f"file:{federation.directory / 'coordinator' / 'synergos.db'}?mode=ro", uri=True)

    def select(query: str) -> list[tuple[Any, ...]]:
        return database.execute(query, {"run": int(finished.removeprefix("run-"))}).fetchall()

    assert select("SELECT state, why FROM run WHERE id = :run") == [("finished", "")]
    assert select(
        "SELECT c.name, p.name, e.name FROM run r JOIN experiment e ON e.id = r.experiment_id"
        " JOIN project p ON p.id = e.project_id JOIN collaboration c ON c.id = p.collaboration_id WHERE r.id = :run"
    ) == [("north", "joint-risk", "first")]
    states = [
        json.loads(body)["state"]
        for (body,) in select("SELECT body FROM event WHERE run_id = :run AND kind = 'state' ORDER BY id")
    ]
    assert states == ["proposed", "approved", "establishing", "running", "finishing", "finished"]
    measured = {
        (part, name): value
        for part, name, value in select("SELECT part, name, value FROM metric WHERE run_id = :run AND party = 'bank'")
    }
    results = operator.results(finished)["metrics"]
    assert measured == {(part, name): value for part, of in results.items() for name, value in of.items()}
    parties = {party for (party,) in select("SELECT DISTINCT party FROM ledger_entry WHERE run_id = :run")}
    assert parties == set(THREE)
    assert select("PRAGMA integrity_check") == [("ok",)]
    database.close()


def test_progress_of_every_party_is_seen(operator: Operator, finished: str) -> None:
    events = list(operator.watch(finished))
    stages = {(event.party, event.body["stage"]) for event in events if event.kind == "progress"}
    assert {(party, stage) for party in THREE for stage in ("align", "train")} <= stages
    assert [event.number for event in operator.watch(finished, events[-3].number)] == [e.number for e in events[-2:]]


def test_two_runs_at_once(submit: Submit, operator: Operator, tables: Any) -> None:
    pairs = [["bank", "telco"], ["bank", "shop"]]
    runs = [submit(tables.job(*pair)) for pair in pairs]
    assert [end(operator, run) for run in runs] == [("finished", "")] * 2
    assert [operator.status(run)["parties"] for run in runs] == pairs


# Refused before anything runs.


def test_a_policy_that_does_not_allow_the_project(
    federation: LocalFederation, submit: Submit, operator: Operator, tables: Any
) -> None:
    with changed(federation.folder("telco") / "policy.toml", '[[allow]]\nproject = "south/*"\n'):
        state, why = end(operator, submit(tables.job()))
    assert (state, why.split(":")[0]) == ("refused", "telco refuses")
    assert "'north/joint-risk'" in why


def test_a_column_that_the_policy_never_shows(
    federation: LocalFederation, submit: Submit, operator: Operator, tables: Any
) -> None:
    with changed(federation.folder("telco") / "policy.toml", '[[allow]]\nnever = ["telco_v"]\n'):
        state, why = end(operator, submit(tables.job()))
    assert (state, why.split(":")[0]) == ("refused", "telco refuses")
    assert "'telco_v'" in why


def test_a_policy_file_that_is_wrong(
    federation: LocalFederation, submit: Submit, operator: Operator, tables: Any
) -> None:
    with changed(federation.folder("telco") / "policy.toml", "[[allow]]\nprojects = 'x'\n"):
        state, why = end(operator, submit(tables.job()))
    assert state == "refused"
    assert "'projects'" in why
    assert "did you mean 'project'" in why


def test_a_job_too_large_to_carry(submit: Submit, operator: Operator, tables: Any) -> None:
    job = tables.job()
    data = {**job.parties, "telco": replace(job.parties["telco"], exclude=tuple(f"column_{n}" for n in range(40_000)))}
    with pytest.raises(Misuse, match=r"the job has .* bytes, more than 262,144"):
        submit(replace(job, parties=data))
    assert operator.status()["workers"] == sorted(THREE)


def test_a_data_set_is_named_never_a_path(federation: LocalFederation, operator: Operator, tables: Any) -> None:
    for party in TWO:
        federation.register(party, {"train": tables.files[party], "evaluate": tables.files[party]})
    for source in (tables.files["telco"], "../tls.key", "trainn"):
        job = tables.job().with_named_sources()
        data = {**job.parties, "telco": replace(job.parties["telco"], train=source)}
        state, why = end(operator, operator.submit(replace(job, parties=data)))
        assert state == "refused"
        assert why.startswith(f"telco has no data set {source!r}")
        assert "evaluate" not in why  # nor are others named to whoever asks


def test_bad_data_name_party_and_column(submit: Submit, operator: Operator, tables: Any) -> None:
    job = tables.job()
    data = {**job.parties, "telco": replace(job.parties["telco"], id=("client",))}
    state, why = end(operator, submit(replace(job, parties=data)))
    assert state == "refused"
    assert "telco" in why
    assert "'client'" in why


def test_too_few_shared_customers(submit: Submit, operator: Operator, tables: Any) -> None:
    state, why = end(operator, submit(tables.job(align=Align(min_intersection=281))))
    assert state == "refused"
    assert "fewer customers than the minimum of 281" in why


def test_an_identity_that_nobody_vouched_for(
    federation: LocalFederation, submit: Submit, operator: Operator, tables: Any
) -> None:
    pins = federation.folder("bank") / "pins.toml"
    with changed(pins, "".join(line for line in pins.read_text().splitlines(True) if "telco" not in line)):
        state, why = end(operator, submit(tables.job()))
    assert state == "refused"
    assert why == "no identity of telco is trusted here: compare fingerprints, then add it to pins.toml"


def test_an_identity_other_than_the_one_trusted(
    federation: LocalFederation, submit: Submit, operator: Operator, tables: Any
) -> None:
    other = fingerprint(Identity.generate().public)
    pins = federation.folder("bank") / "pins.toml"
    with changed(pins, pins.read_text() + f'"x" = "{other}"\n'):
        worker_folder(federation.folder("bank")).pin("telco", other)
        state, why = end(operator, submit(tables.job()))
    assert state == "failed"
    assert why == "telco signed its approval with an identity that is not the one trusted here"


def test_a_party_whose_worker_is_away_and_comes_back(
    federation: LocalFederation, submit: Submit, operator: Operator, tables: Any
) -> None:
    federation.stop("shop")
    eventually(lambda: operator.status()["workers"] == ["bank", "telco"])
    with pytest.raises(Misuse, match="no worker of shop is connected"):
        submit(tables.job(*THREE))
    federation.start_workers("shop")
    assert operator.status()["workers"] == sorted(THREE)


# Cancelled.


@pytest.mark.parametrize("moment", ["proposed", "establishing", "align", "train", "finishing"])
def test_a_run_is_cancelled_at_any_moment(
    federation: LocalFederation, submit: Submit, operator: Operator, tables: Any, moment: str
) -> None:
    run = submit(tables.job())
    bank = federation.processes["bank"].pid
    for event in operator.watch(run):
        stage = event.body.get("stage")
        if moment == "finishing" and stage == "train":
            os.kill(bank, signal.SIGSTOP)  # so that its last word waits
        if moment in (event.body.get("state"), stage):
            operator.cancel(run)
            break
    os.kill(bank, signal.SIGCONT)
    assert end(operator, run) == ("cancelled", "operator cancelled it")
    with pytest.raises(Misuse, match=f"{run} is cancelled already"):
        operator.cancel(run)
    with pytest.raises(Misuse, match=f"{run} has no results, it is cancelled: operator cancelled it"):
        operator.results(run)
    for party in TWO:
        folder = federation.folder(party) / "runs"
        eventually(lambda folder=folder: not (folder.exists() and (list(folder.glob(".*")))))
        assert not (folder / run).exists()


# Who may connect.


def process(module: str, folder: Path, *arguments: str) -> tuple[int, str]:
    """Run a node's process that is to end by itself; return its exit code and last words."""
    command = [sys.executable, "-m", module, str(folder), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    return ended.returncode, ended.stderr.strip().splitlines()[-1]


def test_a_second_worker_of_one_name(federation: LocalFederation, operator: Operator) -> None:
    code, said = process("node.worker", federation.folder("telco"), "--coordinator", federation.address)
    assert code == 2
    assert said == "coordinator refuses: a worker of telco is connected already; stop one of the two"
    assert "telco" in operator.status()["workers"]


def test_a_port_in_use(federation: LocalFederation) -> None:
    code, said = process("node.coordinator", federation.directory / "coordinator", "--listen", federation.address)
    assert code == 2
    assert said.startswith(f"nothing can listen on {federation.address}: another program does")


def test_a_certificate_of_another_federation(federation: LocalFederation, tmp_path: Path) -> None:
    other = init(tmp_path / "other", ["telco"])
    code, said = process("node.worker", other / "workers" / "telco", "--coordinator", federation.address)
    assert code == 2
    assert said.startswith(f"what answers at {federation.address} is not the coordinator of this folder's federation")
    stranger = other / "operators" / "operator"
    with (
        Operator(operator_folder(stranger), federation.address) as asking,
        pytest.raises(Misuse, match="is not the coordinator of this folder's federation"),
    ):
        asking.status()
    write(stranger / "root.pem", (federation.directory / "coordinator" / "root.pem").read_bytes())
    with (
        Operator(operator_folder(stranger), federation.address) as asking,
        pytest.raises(Misuse, match="does not accept this folder's certificate"),
    ):
        asking.status()


def test_certificates_give_no_other_right_than_their_own(federation: LocalFederation, tmp_path: Path) -> None:
    (person,) = (federation.directory / "operators").iterdir()
    for file in ("root.pem", "tls.pem", "tls.key"):
        write(tmp_path / "operator" / file, (federation.folder("bank") / file).read_bytes())
        write(tmp_path / "worker" / file, (person / file).read_bytes())
    write(tmp_path / "operator" / "operator.toml", (person / "operator.toml").read_bytes())
    for file in ("worker.toml", "policy.toml", "pins.toml", "identity.key"):
        write(tmp_path / "worker" / file, (federation.folder("bank") / file).read_bytes())
    with (
        Operator(operator_folder(tmp_path / "operator"), federation.address) as asking,
        pytest.raises(Refused, match="a worker's certificate gives no right to submit or see jobs"),
    ):
        asking.status()
    code, said = process("node.worker", tmp_path / "worker", "--coordinator", federation.address)
    assert (code, said) == (2, "coordinator refuses: an operator's certificate connects no worker")


def test_a_run_that_does_not_exist(operator: Operator) -> None:
    asked: tuple[Callable[[str], Any], ...] = (operator.status, operator.ledger, operator.cancel, operator.results)
    for ask in (*asked, lambda run: list(operator.watch(run))):
        with pytest.raises(Misuse, match="there is no run"):
            ask("run-999")
        with pytest.raises(Misuse, match="runs are called run-1"):
            ask("first")


def test_an_address_where_no_coordinator_is(federation: LocalFederation) -> None:
    (person,) = (federation.directory / "operators").iterdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        threading.Thread(target=_greet, args=(server,), daemon=True).start()
        with (
            Operator(operator_folder(person), address) as asking,
            pytest.raises(Misuse, match=f"what answers at {address} is no coordinator"),
        ):
            asking.status()
    with (
        Operator(operator_folder(person), address) as asking,
        pytest.raises(LinkLost, match=f"nothing answers at {address}"),
    ):
        asking.status()


def _greet(server: socket.socket) -> None:
    """Answer as a web server does that speaks no TLS."""
    try:
        while True:
            with server.accept()[0] as connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    except OSError:  # the server is closed
        return
