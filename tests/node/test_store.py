"""The coordinator's records: migrations equal the models, states move along their lines, a restart leaves no doubt."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from engine.errors import Misuse
from engine.jobfile import Job, parse
from node.store import Database, Report, State
from node.store.database import upgrade
from node.store.models import Base
from node.store.states import LIVE, NEXT

JOB = """
{top}
[parties.telco]
train = "subscribers"
id = "id"
[parties.bank]
train = "customers"
id = "id"
label = "y"
[model]
name = "logistic_regression"
"""
COURSE = (State.APPROVED, State.ESTABLISHING, State.RUNNING, State.FINISHING)


def job(top: str = "") -> Job:
    return parse(JOB.format(top=top), None)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    yield database
    database.close()


def entry(sender: str, receiver: str) -> dict[str, Any]:
    counts = {"rank": 3, "messages": 1, "bytes": 32}
    return {"sender": sender, "receiver": receiver, "message": "Blinded", "protection": "blinded (DDH)", **counts}


def test_migrations_from_empty_give_the_models() -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        upgrade(connection)
        upgrade(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_the_first_migration_can_be_taken_back() -> None:
    from alembic import command
    from alembic.config import Config

    from node.store.database import MIGRATIONS

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        upgrade(connection)
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_the_database_is_durable_and_keeps_foreign_keys(database: Database) -> None:
    with database._engine.connect() as connection:
        pragmas = {name: connection.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous")}
        assert pragmas == {"journal_mode": "wal", "synchronous": 2}
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1


def test_a_run_from_proposed_to_finished(database: Database) -> None:
    name = database.create(job('project = "joint"'), "ab" * 16, "ann")
    assert name == "run-1"
    assert database.status(name)["parties"] == ["bank", "telco"]
    for state in COURSE:
        assert database.move(name, state, manifest="cd" * 32 if state is State.APPROVED else None)
    database.note(name, "progress", "bank", {"stage": "train"})
    summary = {"metrics": {"train": {"auc": 0.75}}, "rows": {"own": 3}}
    both = [entry("bank", "telco"), entry("telco", "bank")]
    assert database.finish(name, {"bank": Report(summary, {"a": 1}, both), "telco": Report({}, {}, both)})
    status = database.status(name)
    assert (status["state"], status["manifest"], status["project"]) == ("finished", "cd" * 32, "joint")
    assert status["summaries"]["bank"] == summary
    assert Job.from_json(status["job"]) == job('project = "joint"')
    assert sorted(e["sender"] for e in database.ledger(name)) == ["bank", "telco"]
    events = database.events(name)
    assert [e.body.get("state", e.kind) for e in events] == [
        "proposed", "approved", "establishing", "running", "finishing", "progress", "finished"
    ]  # fmt: skip
    assert database.events(name, events[4].number) == events[5:]


def test_names_are_unique_within_their_parent(database: Database) -> None:
    for top in ("", "", 'experiment = "b"', 'project = "b"', 'collaboration = "b"'):
        database.create(job(top), f"{len(database.runs()):032x}", "ann")
    with database._engine.connect() as connection:
        counts = [
            connection.scalar(text(f"SELECT count(*) FROM {t}")) for t in ("collaboration", "project", "experiment")
        ]
    assert counts == [2, 3, 4]
    assert [run["run"] for run in database.runs()] == ["run-5", "run-4", "run-3", "run-2", "run-1"]


def test_no_state_is_skipped_and_none_follows_the_last(database: Database) -> None:
    for number, last in enumerate(State):
        name = database.create(job(), f"{number:032x}", "ann")
        path = [*COURSE, State.FINISHED] if last not in NEXT else list(COURSE)
        if last in (State.REFUSED, State.CANCELLED, State.FAILED):
            path = [last]
        for state in path:
            if database.status(name)["state"] == last:
                break
            assert database.move(name, state)
        assert database.status(name)["state"] == last
        events = database.events(name)
        for state in State:
            if state not in NEXT.get(last, set()):
                assert not database.move(name, state)
        assert database.events(name) == events
        assert (database.status(name)["ended_at"] is None) == (last in LIVE)


def test_a_restart_ends_what_was_live(database: Database) -> None:
    live, over = (database.create(job(), f"{number:032x}", "ann") for number in range(2))
    database.move(over, State.CANCELLED)
    assert database.abandon("the coordinator was restarted") == 1
    assert (database.status(live)["state"], database.status(live)["why"]) == ("failed", "the coordinator was restarted")
    assert database.status(over)["state"] == "cancelled"


@pytest.mark.parametrize("name", ["run-1", "run-x", "1", "", "run-" + "9" * 40])
def test_an_unknown_run_is_misuse(database: Database, name: str) -> None:
    with pytest.raises(Misuse, match="no run"):
        database.status(name)


def test_what_was_written_survives_kill_9(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    code = (
        "import os, signal\nfrom engine.jobfile import parse\nfrom node.store import Database, State\n"
        f"database = Database({url!r})\nname = database.create(parse({JOB.format(top='')!r}, None), 'ab' * 16, 'ann')\n"
        "database.move(name, State.APPROVED)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == -9
    database = Database(url)
    assert database.status("run-1")["state"] == "approved"
    database.close()
