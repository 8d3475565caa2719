"""What a policy lets peers match in 24 hours: counted on disk, over restarts, and refused with a clear sentence."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Misuse, Refused
from engine.runtime.policy import Matching
from node.budget import DAY, DailyCount
from node.local import LocalFederation
from node.operator import Unfinished

ROWS = Matching(rows_per_peer_per_day=100)


def test_rows_are_counted_for_each_peer_and_over_restarts(tmp_path: Path) -> None:
    file = tmp_path / "matched.db"
    DailyCount(file, "bank", ROWS)({"telco": 60, "shop": 10})
    DailyCount(file, "bank", ROWS)({"telco": 40})
    with pytest.raises(Refused, match=r"^bank refuses: its policy lets telco match 100 rows .* in 24 hours"):
        DailyCount(file, "bank", ROWS)({"telco": 1})
    DailyCount(file, "bank", ROWS)({"shop": 90})
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["matched.db"]


def test_a_refused_run_is_counted_for_nobody(tmp_path: Path) -> None:
    count = DailyCount(tmp_path / "matched.db", "bank", ROWS)
    for _ in range(3):
        with pytest.raises(Refused, match="lets telco match"):
            count({"shop": 100, "telco": 101})
    count({"shop": 100})


def test_runs_are_counted_and_forgotten_after_a_day(tmp_path: Path) -> None:
    now = 1e9
    count = DailyCount(tmp_path / "matched.db", "bank", Matching(runs_per_peer_per_day=2), lambda: now)
    count({"telco": 1 << 40})
    now += DAY / 2
    count({"telco": 1})
    now += DAY / 2 - 1
    with pytest.raises(Refused, match=r"lets telco match 2 runs \(runs_per_peer_per_day\)"):
        count({"telco": 1})
    now += 1
    count({"telco": 1})
    with pytest.raises(Refused, match="2 runs"):
        count({"telco": 1})


def test_runs_at_once_share_one_count(tmp_path: Path) -> None:
    refused = []

    def run() -> None:
        try:
            DailyCount(tmp_path / "matched.db", "bank", ROWS)({"telco": 30})
        except Refused as error:
            refused.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 5


def test_a_spoilt_file_stops_matching(tmp_path: Path) -> None:
    file = tmp_path / "matched.db"
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(Misuse, match=r"cannot be counted \(DatabaseError in matched.db at bank\)") as error:
        DailyCount(file, "bank", ROWS)({"telco": 1})
    assert str(tmp_path) not in str(error.value)


def test_a_worker_keeps_to_its_policy_over_a_restart(tables: Any, tmp_path: Path) -> None:
    with LocalFederation(tmp_path / "f", ("bank", "telco")) as federation, federation.operator() as operator:
        for name in federation.workers:
            federation.register(name, {"train": tables.files[name]})
        policy = federation.folder("bank") / "policy.toml"
        policy.write_text("[psi]\nrows_per_peer_per_day = 500\nmin_intersection = 281\n[[allow]]\n")

        def end() -> tuple[str, str]:
            try:
                operator.follow(operator.submit(tables.job().with_named_sources()), lambda event: None)
            except Unfinished as unfinished:
                return unfinished.state, unfinished.why
            return "finished", ""

        state, why = end()  # telco brings 290 rows, of which 280 are shared
        assert state == "refused"
        assert "bank refuses: the parties share fewer customers than the minimum of 281" in why
        federation.processes["bank"].terminate()
        federation.processes["bank"].communicate()
        federation.start_workers("bank")
        state, why = end()
        assert state == "refused"
        assert "bank refuses: its policy lets telco match 500 rows (rows_per_peer_per_day) in 24 hours" in why
        policy.write_text("[psi]\nrows_per_peer_per_day = 1_000\n[[allow]]\n")
        assert end()[0] == "finished"
