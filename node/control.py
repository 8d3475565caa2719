"""What coordinator, workers and operators say to each other: small JSON messages, checked when decoded.

On the wire each is proto3 `Note{string json = 1}` of `synergos.proto`; the JSON names its class under "type". A message
has exactly the fields of its class, of exactly their types. Runs are named by their id (16 random bytes in hex) between
coordinator and workers, by their readable name between coordinator and operators.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, get_type_hints

from engine.errors import EngineError, PeerFault
from node import wire
from node.errors_status import Fault

CONNECT = "/synergos.v1.Control/Connect"
SUBMIT, STATUS, WATCH, LEDGER, CANCEL = (
    f"/synergos.v1.Operator/{name}" for name in ("Submit", "Status", "Watch", "Ledger", "Cancel")
)
NOTE_LIMIT = 1 << 20  # bytes of JSON
M = TypeVar("M")
Say = Callable[[object], None]  # passes one message on


@dataclass(frozen=True)
class Beat:
    """Either way: a sign of life. A side that hears nothing for three heartbeats counts the other as lost."""


# Worker to coordinator.


@dataclass(frozen=True)
class Hello:
    """First of all; `instance` tells a worker that comes back from a second one of the same name."""

    wire: int
    software: str
    instance: str


@dataclass(frozen=True)
class Approved:
    """The worker takes part; `approval` is a `keys.Signed`."""

    run: str
    approval: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """The worker does not take part, or its part has failed; the fields are those of `errors_status.Fault`."""

    run: str
    name: str
    who: str
    what: str

    @classmethod
    def of(cls, run: str, error: BaseException, me: str) -> Failed:
        """Describe an error."""
        fault = Fault.of(error, me)
        return cls(run, fault.name, fault.who, fault.what)

    def error(self, sender: str) -> EngineError:
        """Return the error; PeerFault if it is of no known class."""
        return Fault.unpack(Fault(self.name, self.who, self.what).pack(), sender).error()


@dataclass(frozen=True)
class Ready:
    """The run process has shaken hands with every peer."""

    run: str


@dataclass(frozen=True)
class Progress:
    """One step of this party's work."""

    run: str
    stage: str
    done: int
    total: int
    figures: dict[str, Any]


@dataclass(frozen=True)
class Finished:
    """This party's part has ended well: its signed `manifest.Final`, its figures, its ledger. Nothing row by row."""

    run: str
    final: dict[str, Any]
    summary: dict[str, Any]
    ledger: list[Any]


# Coordinator to worker.


@dataclass(frozen=True)
class Welcome:
    """The worker is connected; `heartbeat` in seconds."""

    heartbeat: float


@dataclass(frozen=True)
class Propose:
    """Asks the worker to take part; `proposal` is a `manifest.Proposal`."""

    run: str
    proposal: bytes


@dataclass(frozen=True)
class Start:
    """All parties have approved; `manifest` is a `manifest.Manifest`."""

    run: str
    manifest: bytes


@dataclass(frozen=True)
class Ended:
    """The run is over, well or not: its final state and why. `finals`: every party's signed final, if all are there."""

    run: str
    state: str
    why: str
    finals: dict[str, Any]


# Operator to coordinator, and back.


@dataclass(frozen=True)
class Submit:
    """Asks for a run of this job (its canonical JSON)."""

    job: dict[str, Any]


@dataclass(frozen=True)
class About:
    """Asks about a run by name, or about all if it is empty; `after` is the last event already seen."""

    run: str = ""
    after: int = 0


@dataclass(frozen=True)
class Answer:
    """Whatever was asked for, as plain values."""

    value: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """Something that happened in a run; `at` in seconds since 1970."""

    number: int
    at: float
    kind: str
    party: str
    body: dict[str, Any]


def encode(message: object) -> bytes:
    """Return a message as a Note."""
    return wire.pack(to_text(message))


def decode(data: bytes, kinds: tuple[type[M], ...], sender: str) -> M:
    """Return the message, of one of these classes; PeerFault(sender, ...) if it is anything else."""
    (body,) = wire.unpack(data, {1: "bytes"}, sender)
    return from_text(body, kinds, sender)


def to_text(message: object) -> str:
    """Return a message as one line of JSON."""
    values = {f.name: getattr(message, f.name) for f in fields(message)}  # type: ignore[arg-type]
    plain = {k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in values.items()}
    return json.dumps({"type": type(message).__name__, **plain}, ensure_ascii=False, allow_nan=False)


def from_text(text: bytes | memoryview, kinds: tuple[type[M], ...], sender: str) -> M:
    """Return the message that `to_text` wrote; PeerFault(sender, ...) if it is anything else."""
    try:
        if len(text) > NOTE_LIMIT:
            raise ValueError
        values = json.loads(str(text, "utf-8"))
        kind = {kind.__name__: kind for kind in kinds}[values.pop("type")]
        return kind(**_checked(values, _types(kind)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise PeerFault(sender, "sent a malformed note") from None


def _types(kind: type[Any]) -> dict[str, type]:
    return {name: getattr(hint, "__origin__", hint) for name, hint in get_type_hints(kind).items()}


def _checked(values: dict[str, Any], types: dict[str, type]) -> dict[str, Any]:
    if values.keys() != types.keys():
        raise ValueError
    binary = {k: base64.b64decode(v, validate=True) for k, v in values.items() if types[k] is bytes}
    checked = values | binary
    if any(type(checked[key]) is not kind for key, kind in types.items()):
        raise TypeError
    return checked
