"""The job: what a run does, written in TOML by a person, passed between nodes as canonical JSON.

Both forms go through the same checks. Everything wrong is said at once, a sentence a line; an unknown key is an error
that names the nearest right one. Whether the named columns exist, the data say; what a model's parameters may be, the
model says (`parameters_of`).
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.errors import Misuse
from engine.jobrules import ParametersOf, checked


@dataclass(frozen=True, kw_only=True)
class PartyData:
    """What one party brings: files, URLs or names of registered data sets, and which of their columns."""

    train: str
    id: tuple[str, ...]  # columns that identify a row together
    evaluate: str | None = None
    predict: str | None = None
    label: str | None = None
    columns: tuple[str, ...] | None = None  # all when None
    exclude: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()  # numeric codes that are categories
    acknowledge: tuple[str, ...] = ()  # leaks this party accepts, by name

    def sources(self) -> dict[str, str]:
        """Return "train", "evaluate", "predict" -> file, URL or data set, as far as given."""
        given = {part: getattr(self, part) for part in ("train", "evaluate", "predict")}
        return {part: source for part, source in given.items() if source is not None}


@dataclass(frozen=True, kw_only=True)
class Align:
    """How shared rows are found (vertical)."""

    protocol: str = "ecdh"
    min_intersection: int = 100  # fewer shared rows, and nothing is released


@dataclass(frozen=True, kw_only=True)
class Model:
    """What is trained."""

    name: str
    protocol: str | None = None  # the model's own default when None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """What is measured."""

    metrics: tuple[str, ...] = ()  # the model's own default when empty
    baseline: bool = False  # also the same model without the peers


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """How updates are combined (horizontal)."""

    strategy: str = "fedavg"
    rounds: int = 20
    local_epochs: int = 1
    secure: str = "lean"
    aggregator: str | None = None  # a party; the first when None


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """Differential privacy (horizontal)."""

    mechanism: str = "distributed"
    epsilon: float
    delta: float


@dataclass(frozen=True, kw_only=True)
class Job:
    """A checked job; `parties` in the order of the file."""

    collaboration: str = "default"
    project: str = "default"
    experiment: str = "default"
    kind: str = "vertical"
    seed: int = 0  # everything that is not secret randomness
    evaluate_fraction: float | None = None
    parties: Mapping[str, PartyData]
    align: Align = Align()
    model: Model
    evaluate: Evaluate = Evaluate()
    aggregate: Aggregate | None = None
    privacy: Privacy | None = None

    @property
    def label_holder(self) -> str:
        """The first party with a label; in a vertical job the only one."""
        return next(name for name, data in self.parties.items() if data.label is not None)

    @property
    def order(self) -> tuple[str, ...]:
        """All parties, the label holder first."""
        return (self.label_holder, *(name for name in self.parties if name != self.label_holder))

    def with_named_sources(self) -> Job:
        """Return the same job for workers that have registered each source under the name of its part."""
        named: dict[str, dict[str, Any]] = {n: {part: part for part in d.sources()} for n, d in self.parties.items()}
        return replace(self, parties={name: replace(data, **named[name]) for name, data in self.parties.items()})

    def to_json(self) -> dict[str, Any]:
        """Return the job as JSON-able data, like the file but for parties: a list, whose order survives sorted keys."""
        data = _without_none(asdict(self))
        data["parties"] = [{"name": name, **_without_none(asdict(party))} for name, party in self.parties.items()]
        model = {"name": self.model.name, "protocol": self.model.protocol}
        data["model"] = {**_without_none(model), **self.model.parameters}
        if self.kind == "horizontal":
            del data["align"]
        return data

    @classmethod
    def from_json(cls, data: object, parameters_of: ParametersOf | None = None) -> Job:
        """Return the job that `to_json` described, checked like a file; raises Misuse."""
        parties = data.get("parties") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(parties, list):
            raise Misuse("these data describe no job; its parties are a list of tables")
        names = [party.get("name") if isinstance(party, dict) else None for party in parties]
        if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise Misuse("each party of a job has a name of its own; give each one")
        tables = {party["name"]: {key: party[key] for key in party if key != "name"} for party in parties}
        return _build({**data, "parties": tables}, parameters_of)

    def canonical(self) -> bytes:
        """Return the one JSON text of this job, for digests and signatures."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()


def load(path: str | Path, *, files: bool = True, parameters_of: ParametersOf | None = None) -> Job:
    """Read a job that this release can run.

    Args:
        files: `train`, `evaluate` and `predict` are files or URLs, relative to the job's folder; otherwise they are
            names of data sets registered at the workers and stay as they are.

    Raises:
        Misuse: no such file, not TOML, or one line for everything that is wrong in it.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(
            f"the job file {path} cannot be read ({type(error).__name__}); give a TOML file in UTF-8"
        ) from error
    job = parse(text, path.parent if files else None, parameters_of)
    if job.kind == "horizontal":
        raise Misuse('horizontal learning is not part of this release; use kind = "vertical"')
    return job


def parse(text: str, base: Path | None, parameters_of: ParametersOf | None = None) -> Job:
    """Return the job of a TOML text; files are resolved against `base`, or left as they are if it is None.

    Raises:
        Misuse: one line for everything that is wrong.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misuse(_not_toml(str(error))) from error
    job = _build(raw, parameters_of)
    if base is None:
        return job
    return replace(job, parties={name: _located(data, base) for name, data in job.parties.items()})


def _located(data: PartyData, base: Path) -> PartyData:
    files: dict[str, Any] = {part: str(base / path) for part, path in data.sources().items() if "://" not in path}
    return replace(data, **files)


def _not_toml(why: str) -> str:
    twice = re.match(r"Cannot declare \('parties', '([^']*)'\) twice \(at line (\d+)", why)
    if twice:
        return f"two parties are called '{twice[1]}' (line {twice[2]}); give each a name of its own"
    return f"the job is not valid TOML: {why}"


def _without_none(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}


def _build(raw: Mapping[str, Any], parameters_of: ParametersOf | None) -> Job:
    """Build a job from what TOML or JSON gives; raises Misuse with every problem."""
    entries = checked(raw, parameters_of)
    aggregate, privacy = entries.pop("aggregate", None), entries.pop("privacy", None)
    return Job(
        parties={name: PartyData(**data) for name, data in entries.pop("parties").items()},
        align=Align(**entries.pop("align", {})),
        model=Model(**entries.pop("model")),
        evaluate=Evaluate(**entries.pop("evaluate", {})),
        aggregate=None if aggregate is None else Aggregate(**aggregate),
        privacy=None if privacy is None else Privacy(**privacy),
        **entries,
    )
