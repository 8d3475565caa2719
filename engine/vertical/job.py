"""A vertical job as one party plays it: the same function for all parties in one process and for a worker's run.

`read` brings a party's tables, checked; `play` agrees with the others, aligns, trains, evaluates and, where asked,
predicts. What `play` returns stays with the party; only `summary` may go to a coordinator: counts, seconds, metrics.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import he
from engine.data import Table, read_table
from engine.errors import Misuse
from engine.jobfile import Job
from engine.psi import align as psi
from engine.runtime.party import Party
from engine.runtime.policy import Proposal
from engine.vertical import glm, pipeline, plain
from engine.vertical.glm import LogisticRegression
from engine.vertical.pipeline import ModelPart

VERSION = "synergos vertical job 1"
METRICS = ("auc", "ks", "log_loss", "accuracy")
PARTS = ("train", "evaluate", "predict")
_MODELS = {"logistic_regression": (LogisticRegression, ("shared",))}

Tables = Mapping[str, Table]


@dataclass(frozen=True)
class Part:
    """What a party has after a run.

    Attributes:
        summary: plain values that may leave the party: metrics, rows, seconds, how the training went.
        files: name -> content, to be kept by this party alone: its model part, its report, its scores.
    """

    summary: dict[str, Any]
    files: dict[str, bytes]


def parameters_of(model: str) -> dict[str, object]:
    """Return a model's parameters and their defaults, for the job file; Misuse for an unknown model."""
    if model not in _MODELS:
        raise Misuse(f"there is no vertical model {model!r}; use one of {', '.join(_MODELS)}")
    return {f.name: f.default for f in fields(_MODELS[model][0]) if f.default is not MISSING and f.name != "seed"}


def estimator(job: Job) -> LogisticRegression:
    """Return the estimator that the job describes; Misuse for an unknown model, protocol or parameter value."""
    if job.kind != "vertical":
        raise Misuse(f'{job.kind} learning is not part of this release; use kind = "vertical"')
    parameters_of(job.model.name)
    kind, protocols = _MODELS[job.model.name]
    if job.model.protocol not in (None, *protocols):
        raise Misuse(
            f"[model] {job.model.name} has no protocol {job.model.protocol!r}; use {' or '.join(map(repr, protocols))}"
        )
    return kind(**job.model.parameters, seed=job.seed)


def messages(job: Job) -> tuple[type[Any], ...]:
    """Return the message classes that the job's protocols use; no other passes a channel."""
    return (*psi.MESSAGES, *glm.MESSAGES)


def proposal(job: Job, tables: Tables) -> Proposal:
    """Return what the job asks of one organisation, for its policy to judge."""
    return Proposal(
        project=f"{job.collaboration}/{job.project}",
        parties=job.order,
        protocols=(job.align.protocol, job.model.protocol or "shared"),
        columns=tuple(sorted({name for table in tables.values() for name in table.column_names})),
        security_bits=he.scheme(estimator(job).scheme).security_bits,
    )


def learns(job: Job) -> tuple[str, ...]:
    """Return who learns what in this job, a sentence a line; the protocols' own files say why."""
    leader, *others = job.order
    everybody = f"{', '.join(others[:-1])}{' and ' if len(others) > 1 else ''}{others[-1]}"
    align = (
        f"{leader} and {everybody} learn which of their rows all of them hold, and how many rows each brought",
        *([f"{leader} also learns how many rows each group of parties shares, not which"] if len(others) > 1 else []),
    )
    train = (
        f"{leader} and {others[0]} learn how many columns each party brought, the mean loss at each look, and whether "
        "scores neared the end of the link's series; nobody learns a score, a residual or a gradient while training",
        "each party learns the weights of its own columns if the guard allows it; otherwise nobody learns a weight",
        f"{leader} learns the score of each row that is evaluated or predicted"
        + (f", and with its own weights known {others[0]}'s part of that score" if len(others) == 1 else ""),
        f"{leader} and {others[0]} together could open everything that was shared",
    )
    return (*align, *train)


def read(job: Job, name: str, locate: Callable[[str], str] = str) -> dict[str, Table]:
    """Read and check the tables of one party.

    Args:
        locate: turns what the job says (a path, a URL, the name of a registered data set) into a path or URL.

    Raises:
        Misuse: one line for everything that is wrong, naming party, file and column.
    """
    data = job.parties[name]
    tables: dict[str, Table] = {}
    found: list[str] = []
    for part in PARTS:
        source = getattr(data, part)
        if source is None:
            continue
        # Later parts hold at least the columns trained on; a table to predict for need not hold the label.
        known = part != "train" and "train" in tables
        try:
            tables[part] = read_table(
                locate(source),
                party=name,
                id=data.id,
                label=None if part == "predict" else data.label,
                columns=tables["train"].column_names if known else data.columns,
                exclude=() if known else data.exclude,
                categorical=data.categorical,
                training=part == "train",
            )
        except Misuse as error:
            found.append(str(error))
    if not found:
        try:
            tables = pipeline.split(tables, job.evaluate_fraction, job.seed)
            fitted = pipeline.prepare(estimator(job), tables["train"])
            for part in tables.keys() - {"train"}:
                fitted.transform(tables[part].take(np.arange(1)))
        except Misuse as error:
            found.append(str(error))
    if found:
        raise Misuse("\n".join(found))
    return tables


def play(party: Party, job: Job, tables: Tables) -> Part:
    """Take part in the job: agree, align, train, evaluate, predict."""
    model = estimator(job)
    rows = sum(len(table) for table in tables.values())
    party.policy.check_rows(rows)
    digest = party.agree(_plan(job, tables))
    seconds: dict[str, float] = {}
    with _timed(seconds, "align"):
        aligned = pipeline.align_parts(
            party,
            tables,
            protocol=job.align.protocol,
            min_intersection=job.align.min_intersection,
            context=digest,
        )
    with _timed(seconds, "train"):
        part = pipeline.train(party, model, aligned["train"], aligned.get("evaluate"))
    with _timed(seconds, "evaluate"):
        scores = {name: part.scores(party, table) for name, table in aligned.items() if len(table)}
    summary: dict[str, Any] = {
        "rows": {"own": rows, "aligned": sum(map(len, aligned.values())), **{k: len(v) for k, v in aligned.items()}},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "model": _description(job, part, scores),
    }
    files = {"model.json": _json(part.to_json()), "report.json": _json(_report(part))}
    if party.name == job.label_holder:
        names = job.evaluate.metrics or METRICS
        measured = {name: aligned[name] for name in ("train", "evaluate") if len(aligned.get(name, ()))}
        summary["metrics"] = {n: plain.measure(names, _labels(t), _scores(scores, n)) for n, t in measured.items()}
        if job.evaluate.baseline:
            summary["baseline"] = {"alone": plain.baseline(measured, names, model.l2)}
        if len(aligned.get("predict", ())):
            files["scores.csv"] = _scores_csv(aligned["predict"], _scores(scores, "predict"))
    return Part(summary, files)


def _plan(job: Job, tables: Tables) -> dict[str, bytes]:
    """What must be the same on every side, by section."""
    whole = job.to_json()
    return {
        "version": VERSION.encode(),
        "parties": _json(list(job.order)),
        "parts": _json([sorted(tables), job.evaluate_fraction, job.seed]),
        **{name: _json(whole.get(name, {})) for name in ("align", "model", "evaluate")},
        "project": _json([job.collaboration, job.project, job.experiment]),
    }


def _description(job: Job, part: ModelPart, scores: Mapping[str, Any]) -> dict[str, Any]:
    course = part.glm.course
    return {
        "name": job.model.name,
        "protocol": job.model.protocol or "shared",
        "scheme": part.glm.scheme,
        "id": part.glm.model,
        "weights": "with their owners" if part.glm.weights is not None else "shared",
        "ended": course.ended,
        "loss_on": course.measured_on,
        "losses": [list(pair) for pair in course.losses],
        "operations": part.glm.counts,
    }


def _report(part: ModelPart) -> dict[str, Any]:
    """What the party may want to read of its own part."""
    return {"model": part.glm.model, "features": list(part.features.names), "coefficients": part.coefficients()}


def _scores_csv(table: Table, scores: NDArray[np.float64]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*table.key_names, "score"])
    writer.writerows([*key, f"{score:.6f}"] for *key, score in zip(*table.keys, scores, strict=True))
    return text.getvalue().encode()


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def _json(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, indent=1).encode()


def _labels(table: Table) -> NDArray[np.float64]:
    assert table.label is not None
    return table.label


def _scores(scores: Mapping[str, NDArray[np.float64] | None], name: str) -> NDArray[np.float64]:
    values = scores[name]
    assert values is not None
    return values
