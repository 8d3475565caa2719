"""`synergos simulate`: a job with all parties in one process, over memory links, and the figures it gives.

The figures are those of the same job on nodes; only here, where all files are at hand, the pooled plaintext model can
stand beside them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from engine.errors import Misuse
from engine.jobfile import Job
from engine.parties import run_local
from engine.runtime.party import Progress, silent
from engine.runtime.policy import Policy, Rule
from engine.vertical import job as vertical
from engine.vertical import plain
from engine.vertical.job import Part, Tables


def check(job: Job) -> dict[str, Tables]:
    """Read every party's tables; Misuse lists everything that is wrong, a line each."""
    vertical.estimator(job)
    tables: dict[str, Tables] = {}
    found: list[str] = []
    for name in job.order:
        try:
            tables[name] = vertical.read(job, name)
        except Misuse as error:
            found.append(str(error))
    if not found:
        found += _differing_parts(tables)
    if found:
        raise Misuse("\n".join(found))
    return tables


def _differing_parts(tables: Mapping[str, Tables]) -> list[str]:
    """Parts such as "evaluate" are there at every party or at none."""
    parts = {part for of_party in tables.values() for part in of_party}
    return [
        f"{name} has no table to {part} with, others have: give it one in [parties.{name}]"
        for part in sorted(parts)
        for name, of_party in tables.items()
        if part not in of_party
    ]


def simulate(job: Job, progress: Callable[[Progress], None] = silent) -> tuple[dict[str, Any], dict[str, Part]]:
    """Run the job; return the figures of DESIGN's JSON and each party's part.

    Raises:
        Misuse: before anything runs, with everything that is wrong with the job or the files.
        PeerFault, Refused: the first cause, if a role fails.
    """
    tables = check(job)
    policies = {name: _policy(job, name) for name in job.order}
    for name, policy in policies.items():
        policy.permit(vertical.proposal(job, tables[name]))
    start = time.perf_counter()
    parties, parts = run_local(
        job.order,
        vertical.messages(job),
        lambda party: vertical.play(party, job, tables[party.name]),
        policies=policies,
        progress=progress,
    )
    sent = (row for name, party in parties.items() for row in party.ledger.to_json() if row["sender"] == name)
    figures = combine(job, {name: part.summary for name, part in parts.items()}, sent)
    figures["seconds"]["total"] = round(time.perf_counter() - start, 3)
    if job.evaluate.baseline:
        figures["baseline"]["pooled"] = pooled(job, tables)
    return figures, parts


def combine(
    job: Job, summaries: Mapping[str, Mapping[str, Any]], ledger: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """Put the parties' summaries and what each of them sent into one report; the label holder's figures lead."""
    first = summaries[job.label_holder]
    sent = list(ledger)
    volume: dict[str, int] = {}
    for row in sent:
        pair = f"{row['sender']}>{row['receiver']}"
        volume[pair] = volume.get(pair, 0) + row["bytes"]
    shared = {key: value for key, value in first["rows"].items() if key != "own"}
    return {
        "metrics": first.get("metrics", {}),
        "baseline": dict(first.get("baseline", {})),
        "rows": {**{name: summaries[name]["rows"]["own"] for name in job.order}, **shared},
        "seconds": dict(first["seconds"]),
        "bytes": volume,
        "ledger": sent,
        "model": dict(first["model"]),
    }


def pooled(job: Job, tables: Mapping[str, Tables]) -> dict[str, dict[str, float]]:
    """Return the metrics of the same model trained in clear on everybody's columns, of the rows that all hold."""
    whole = plain.joined({name: tables[name] for name in job.order})
    return plain.baseline(whole, job.evaluate.metrics or vertical.METRICS, vertical.estimator(job).l2)


def _policy(job: Job, name: str) -> Policy:
    """In a simulation the job itself says what each party acknowledges."""
    return Policy(name, (Rule(acknowledge=job.parties[name].acknowledge, min_security_bits=0),))
