"""A federation on one machine: it leaves no process behind however it ends, says why it cannot start, keeps records."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import jobfile
from engine.errors import LinkLost, Misuse
from node import local
from node.local import LocalFederation, run_job
from node.operator import Unfinished

HOST = """\
import sys, time
from engine import jobfile
from node.local import LocalFederation
job = jobfile.Job.from_json({job})
with LocalFederation(sys.argv[1], job.order) as federation, federation.operator() as operator:
    for party, data in job.parties.items():
        federation.register(party, data.sources())
    for event in operator.watch(operator.submit(job.with_named_sources())):
        if event.body.get("stage") == "train":
            print("training", flush=True)
            time.sleep(100)
"""


def processes(folder: Path) -> list[int]:
    """Return the processes whose command line names this folder; no zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:  # it has just ended
                continue
            if str(folder).encode() in command:
                found.append(int(entry.name))
    return found


def eventually(holds: Callable[[], Any], seconds: float = 15.0) -> None:
    """Wait until this is true."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_all_processes_end_with_the_one_that_started_them(how: signal.Signals, tables: Any, tmp_path: Path) -> None:
    folder = tmp_path / "federation"
    host = subprocess.Popen(
        [sys.executable, "-c", HOST.format(job=tables.job().to_json()), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert host.stdout is not None
    with host.stdout:
        assert host.stdout.readline() == b"training\n"
        assert len(processes(folder)) == 6  # the host, a coordinator, two workers, two run processes
        os.kill(host.pid, how)
        assert host.wait(15) != 0
    eventually(lambda: not processes(folder))


def test_what_keeps_a_process_from_starting_is_said(tmp_path: Path) -> None:
    federation = LocalFederation(tmp_path / "f", ["bank", "telco"])
    (federation.folder("telco") / "tls.key").unlink()
    with pytest.raises(Misuse, match=r"telco/tls\.key cannot be read \(FileNotFoundError\)"), federation:
        pass
    eventually(lambda: not processes(tmp_path))


def test_records_outlive_the_processes(tables: Any, tmp_path: Path) -> None:
    job = tables.job()
    with LocalFederation(tmp_path / "f", job.order) as federation, federation.operator() as operator:
        for party, data in job.parties.items():
            federation.register(party, data.sources())
        run = operator.submit(job.with_named_sources())
        operator.follow(run, lambda event: None)
        events, results = list(operator.watch(run)), operator.results(run)
    assert not processes(tmp_path)
    assert all([folder.name for folder in (federation.folder(p) / "runs").iterdir()] == [run] for p in job.order)
    with LocalFederation(tmp_path / "f", job.order) as federation, federation.operator() as operator:
        assert [entry["run"] for entry in operator.status()["runs"]] == [run]
        assert operator.results(run) == results
        assert list(operator.watch(run)) == events


def test_a_job_that_is_refused_leaves_nothing(tables: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(Unfinished, match=r"refused: .*fewer customers than the minimum of 281"):
        run_job(tables.job(align=jobfile.Align(min_intersection=281)), lambda event: None)
    assert not processes(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_this_release_cannot_run_starts_nothing(
    tables: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(Misuse, match="horizontal learning is not part of this release"):
        run_job(tables.job(kind="horizontal"), lambda event: None)
    assert list(tmp_path.iterdir()) == []


def test_results_are_waited_for_until_the_worker_has_named_them(tmp_path, monkeypatch):
    late = threading.Timer(0.3, (tmp_path / "late").mkdir)
    late.start()
    assert local._kept(tmp_path / "late", "bank").is_dir()
    late.join()
    monkeypatch.setattr(local, "_PATIENCE", 0.1)
    with pytest.raises(LinkLost, match=r"bank.*has not kept the run after"):
        local._kept(tmp_path / "never", "bank")
