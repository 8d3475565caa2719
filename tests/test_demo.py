"""The demo: two organisations made of one public table, on real nodes, and nothing of it left behind."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from node import demo

SECONDS = 60  # promised for the demo's own run on two cores


@contextmanager
def started(folder: Path, *options: object) -> Iterator[subprocess.Popen[str]]:
    """Start the demo as people do; its temporary files are in the folder."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "node.cli", "demo", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
        # A shell starts background jobs deaf to Ctrl-C, and they pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def left_behind(folder: Path) -> list[str]:
    """Return the command lines of the processes that serve a folder of these."""
    commands = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:  # it has just ended
            continue
        if str(folder).encode() in command:
            commands.append(command.replace(b"\0", b" ").decode())
    return commands


def says(process: subprocess.Popen[str], words: str) -> None:
    """Read what the demo prints up to a line with these words."""
    assert process.stdout is not None
    assert any(words in line for line in process.stdout), f"it ended without saying {words!r}"


def test_two_organisations_share_most_customers_and_no_column() -> None:
    with demo.german_credit() as job:
        lender, bank = (pd.read_csv(data.train) for data in job.parties.values())
    assert job.label_holder == "lender"
    assert set(lender.columns) & set(bank.columns) == {"customer"}
    assert len(set(lender.columns) | set(bank.columns)) == 1 + 20 + 1, "the id, every column of the table, the label"
    assert set(lender["bad"]) == {0, 1}
    assert lender["customer"].is_unique
    assert bank["customer"].is_unique
    ids = set(lender["customer"]), set(bank["customer"])
    assert (len(ids[0]), len(ids[1]), len(ids[0] & ids[1]), len(ids[0] | ids[1])) == (899, 914, 813, 1000)
    assert [*lender["customer"][:50]] != [*bank["customer"][:50]], "rows are not in one order already"


@pytest.mark.parametrize("files", [("a b.csv", "c.csv"), ("train.csv", "c.csv"), ("x/t.csv", "y/t.csv"), (".csv", "c")])
def test_files_that_name_no_party_get_names_by_role(files: tuple[str, str]) -> None:
    with demo.own(Path(files[0]), Path(files[1]), "id", "y") as job:
        assert job.order == ("label_holder", "feature_holder")
    with demo.own(Path("bank.csv.gz"), Path("telco.parquet"), "id", "y") as job:
        assert job.order == ("bank", "telco")


def test_a_run_of_the_demo(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with started(tmp_path, "--json", tmp_path / "figures.json") as process:
        out, err = process.communicate(timeout=5 * SECONDS)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # its nodes and run processes among them, all have ended
    assert process.returncode == 0, err
    # The processor's time, which a busy machine does not change: it fits into the promise on one core.
    assert 5 < after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS
    for words in ("lender alone", "together, encrypted", "pooled in clear", "disclosure ledger", "Who learns what"):
        assert words in out
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert {name: figures["rows"][name] for name in ("lender", "bank", "aligned")} == {
        "lender": 899,
        "bank": 914,
        "aligned": 813,
    }
    measured = (figures["metrics"], figures["baseline"]["alone"], figures["baseline"]["pooled"])
    together, alone, pooled = (each["evaluate"]["auc"] for each in measured)
    assert alone + 0.1 < together
    assert abs(together - pooled) < 0.02
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
    assert not left_behind(tmp_path)


@pytest.mark.parametrize("moment", ["each a process", "the run is proposed", "train 3 of"])
def test_an_interruption_ends_everything(moment: str, tmp_path: Path) -> None:
    with started(tmp_path) as process:
        says(process, moment)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())
    assert not left_behind(tmp_path)


def test_nodes_end_with_a_demo_that_is_killed(tmp_path: Path) -> None:
    with started(tmp_path) as process:
        says(process, "the run is proposed")
        assert len(left_behind(tmp_path)) >= 3
        process.kill()
    deadline = time.monotonic() + 15
    while left_behind(tmp_path):
        assert time.monotonic() < deadline, left_behind(tmp_path)
        time.sleep(0.1)
