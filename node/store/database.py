"""What the coordinator reads and writes, each call one transaction: after a crash a run is where it was, never between.

SQLite in WAL mode with full synchronisation; every state change and its event are written together before anybody is
told. Calls take milliseconds and block; there is one writer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, select, update
from sqlalchemy.orm import Session

from engine.errors import Misuse
from engine.jobfile import Job
from node import control
from node.store.models import Collaboration, Event, Experiment, LedgerEntry, Metric, Party, Project, Run, Worker
from node.store.states import LIVE, State, before

MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class Report:
    """What a party reports when its part has ended well."""

    summary: Mapping[str, Any]
    final: Mapping[str, Any]
    ledger: Sequence[Mapping[str, Any]]


class Database:
    """The coordinator's records.

    Args:
        url: an SQLAlchemy URL; the tables are made or brought up to date.
    """

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url)
        event.listen(self._engine, "connect", _durable)
        with self._engine.begin() as connection:
            upgrade(connection)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def create(self, job: Job, grid: str, proposer: str) -> str:
        """Record a proposed run and whatever of collaboration, project, experiment is new; return the run's name."""
        with self._write() as session:
            run = Run(
                experiment=_experiment(session, job),
                grid=grid,
                state=State.PROPOSED,
                job=job.to_json(),
                proposer=proposer,
                created_at=time.time(),
                parties=[Party(name=name, position=at) for at, name in enumerate(job.order)],
            )
            session.add(run)
            session.flush()
            _note(session, run.id, "state", "", {"state": State.PROPOSED, "why": ""})
            return run.name

    def move(self, name: str, to: State, why: str = "", manifest: str | None = None) -> bool:
        """Move a run to a state; return whether it was in one that this may follow. If not, nothing is changed."""
        with self._write() as session:
            return _move(session, _id(name), to, why, manifest)

    def finish(self, name: str, reports: Mapping[str, Report]) -> bool:
        """Record what every party reported and that the run is finished; return whether it was finishing."""
        with self._write() as session:
            run = _id(name)
            if not _move(session, run, State.FINISHED):
                return False
            for party, report in reports.items():
                session.execute(
                    update(Party)
                    .where(Party.run_id == run, Party.name == party)
                    .values(summary=dict(report.summary), final=dict(report.final))
                )
                session.add_all(_metrics(run, party, report.summary.get("metrics", {})))
                session.add_all(LedgerEntry(run_id=run, party=party, **entry) for entry in report.ledger)
            return True

    def abandon(self, why: str) -> int:
        """Mark every run that is live as failed; return how many there were."""
        with self._write() as session:
            live = session.scalars(select(Run.id).where(Run.state.in_(LIVE))).all()
            for run in live:
                _move(session, run, State.FAILED, why)
            return len(live)

    def note(self, name: str, kind: str, party: str, body: Mapping[str, Any]) -> None:
        """Record an event that changes no state."""
        with self._write() as session:
            _note(session, _id(name), kind, party, body)

    def seen(self, organisation: str, software: str) -> None:
        """Record that an organisation's worker is connected now."""
        with self._write() as session:
            session.merge(Worker(organisation=organisation, software=software, last_seen=time.time()))

    def events(self, name: str, after: int = 0) -> list[control.Event]:
        """Return a run's events after the one of this number."""
        with Session(self._engine) as session:
            run = _run(session, name).id
            rows = session.scalars(select(Event).where(Event.run_id == run, Event.id > after).order_by(Event.id))
            return [control.Event(row.id, row.at, row.kind, row.party, row.body) for row in rows]

    def status(self, name: str) -> dict[str, Any]:
        """Return a run with its job and its parties' summaries; Misuse if there is none of this name."""
        with Session(self._engine) as session:
            run = _run(session, name)
            summaries = {party.name: party.summary for party in run.parties if party.summary is not None}
            return {**_described(run), "job": run.job, "manifest": run.manifest, "summaries": summaries}

    def runs(self) -> list[dict[str, Any]]:
        """Return all runs, newest first."""
        with Session(self._engine) as session:
            return [_described(run) for run in session.scalars(select(Run).order_by(Run.id.desc()))]

    def ledger(self, name: str) -> list[dict[str, Any]]:
        """Return a run's ledger: each entry as its sender reported it."""
        columns = ("sender", "receiver", "message", "protection", "rank", "messages", "bytes")
        with Session(self._engine) as session:
            run = _run(session, name).id
            query = select(LedgerEntry).where(LedgerEntry.run_id == run, LedgerEntry.party == LedgerEntry.sender)
            return [{key: getattr(row, key) for key in columns} for row in session.scalars(query)]

    @contextmanager
    def _write(self) -> Iterator[Session]:
        with Session(self._engine) as session, session.begin():
            yield session


def upgrade(connection: Connection) -> None:
    """Bring a database to the newest revision."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _durable(connection: Any, _: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")


def _id(name: str) -> int:
    prefix, _, number = name.partition("-")
    if prefix != "run" or not (number.isascii() and number.isdigit() and len(number) < 16):
        raise Misuse(f"there is no run {name[:80]!r}: runs are called run-1, run-2 and so on")
    return int(number)


def _run(session: Session, name: str) -> Run:
    run = session.get(Run, _id(name))
    if run is None:
        raise Misuse(f"there is no run {name!r} at this coordinator")
    return run


def _experiment(session: Session, job: Job) -> Experiment:
    collaboration = session.scalar(select(Collaboration).where(Collaboration.name == job.collaboration))
    collaboration = collaboration or Collaboration(name=job.collaboration)
    session.add(collaboration)
    session.flush()
    project = session.scalar(
        select(Project).where(Project.collaboration_id == collaboration.id, Project.name == job.project)
    )
    project = project or Project(collaboration=collaboration, name=job.project)
    session.add(project)
    session.flush()
    experiment = session.scalar(
        select(Experiment).where(Experiment.project_id == project.id, Experiment.name == job.experiment)
    )
    return experiment or Experiment(project=project, name=job.experiment)


def _move(session: Session, run: int, to: State, why: str = "", manifest: str | None = None) -> bool:
    values: dict[str, Any] = {"state": to, "why": why}
    if to not in LIVE:
        values["ended_at"] = time.time()
    if manifest is not None:
        values["manifest"] = manifest
    moved = session.execute(
        update(Run).where(Run.id == run, Run.state.in_(before(to))).values(**values).returning(Run.id)
    ).all()
    if moved:
        _note(session, run, "state", "", {"state": to, "why": why})
    return bool(moved)


def _note(session: Session, run: int, kind: str, party: str, body: Mapping[str, Any]) -> None:
    session.add(Event(run_id=run, at=time.time(), kind=kind, party=party, body=dict(body)))


def _metrics(run: int, party: str, metrics: Mapping[str, Mapping[str, float]]) -> list[Metric]:
    return [
        Metric(run_id=run, party=party, part=part, name=name, value=value)
        for part, values in metrics.items()
        for name, value in values.items()
    ]


def _described(run: Run) -> dict[str, Any]:
    project = run.experiment.project
    return {
        "run": run.name,
        "collaboration": project.collaboration.name,
        "project": project.name,
        "experiment": run.experiment.name,
        "state": run.state,
        "why": run.why,
        "proposer": run.proposer,
        "parties": [party.name for party in run.parties],
        "created_at": run.created_at,
        "ended_at": run.ended_at,
    }
