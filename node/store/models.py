"""The tables. Change them only together with a new file in migrations/versions; a test compares the two."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Float, ForeignKey, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Base of the tables; constraints have names, so that migrations can change them."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {dict[str, Any]: JSON, str: Text}  # noqa: RUF012 (SQLAlchemy's own way)


class Collaboration(Base):
    """Organisations that work together."""

    __tablename__ = "collaboration"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)


class Project(Base):
    """A purpose within a collaboration."""

    __tablename__ = "project"
    __table_args__ = (UniqueConstraint("collaboration_id", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    collaboration_id: Mapped[int] = mapped_column(ForeignKey("collaboration.id"))
    name: Mapped[str] = mapped_column(String(64))
    collaboration: Mapped[Collaboration] = relationship()


class Experiment(Base):
    """A question within a project."""

    __tablename__ = "experiment"
    __table_args__ = (UniqueConstraint("project_id", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str] = mapped_column(String(64))
    project: Mapped[Project] = relationship()


class Run(Base):
    """One run of a job; `grid` is its id on the wire (16 random bytes in hex), people call it run-<id>."""

    __tablename__ = "run"
    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiment.id"), index=True)
    grid: Mapped[str] = mapped_column(String(32), unique=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    why: Mapped[str] = mapped_column(default="")
    job: Mapped[dict[str, Any]]
    proposer: Mapped[str] = mapped_column(String(64))
    manifest: Mapped[str | None] = mapped_column(String(64))  # SHA-256, hex
    created_at: Mapped[float] = mapped_column(Float)
    ended_at: Mapped[float | None] = mapped_column(Float)
    experiment: Mapped[Experiment] = relationship()
    parties: Mapped[list[Party]] = relationship(order_by="Party.position")

    @property
    def name(self) -> str:
        """What people call the run."""
        return f"run-{self.id}"


class Party(Base):
    """An organisation's part in a run; `final` as it was signed."""

    __tablename__ = "party"
    __table_args__ = (UniqueConstraint("run_id", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    name: Mapped[str] = mapped_column(String(64))
    position: Mapped[int]
    summary: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    final: Mapped[dict[str, Any] | None] = mapped_column(JSON)


class Event(Base):
    """Something that happened in a run; readers go on after the last id they saw."""

    __tablename__ = "event"
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), index=True)
    at: Mapped[float] = mapped_column(Float)
    kind: Mapped[str] = mapped_column(String(16))
    party: Mapped[str] = mapped_column(String(64), default="")
    body: Mapped[dict[str, Any]]


class Metric(Base):
    """A figure that a party measured on a part of its data."""

    __tablename__ = "metric"
    __table_args__ = (UniqueConstraint("run_id", "party", "part", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    party: Mapped[str] = mapped_column(String(64))
    part: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    value: Mapped[float] = mapped_column(Float)


class LedgerEntry(Base):
    """All messages of one class in one direction, as one party reported them."""

    __tablename__ = "ledger_entry"
    __table_args__ = (UniqueConstraint("run_id", "party", "sender", "receiver", "message"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    party: Mapped[str] = mapped_column(String(64))
    sender: Mapped[str] = mapped_column(String(64))
    receiver: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(String(128))
    protection: Mapped[str]
    rank: Mapped[int]
    messages: Mapped[int]
    bytes: Mapped[int]


class Worker(Base):
    """When an organisation's worker was last connected."""

    __tablename__ = "worker"
    organisation: Mapped[str] = mapped_column(String(64), primary_key=True)
    software: Mapped[str] = mapped_column(String(64))
    last_seen: Mapped[float] = mapped_column(Float)
