"""Small tables with values that occur nowhere else, and federations of real processes that play jobs on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.jobfile import Align, Evaluate, Job, Model, PartyData
from node.local import LocalFederation
from node.operator import Operator

PARTIES = ("bank", "telco", "shop")
HEARTBEAT = 5.0
ROWS = 300


@dataclass(frozen=True)
class Tables:
    """One table per party, over mostly the same customers, and the files that they were written to."""

    frames: Mapping[str, pd.DataFrame]
    files: Mapping[str, str]

    def job(self, *parties: str, **changes: Any) -> Job:
        """Return a job on the files of these parties, or of bank and telco; the bank holds the label."""
        data = {
            name: PartyData(train=self.files[name], id=("customer",), label="y" if name == "bank" else None)
            for name in parties or PARTIES[:2]
        }
        values: dict[str, Any] = {
            "collaboration": "north",
            "project": "joint-risk",
            "experiment": "first",
            "evaluate_fraction": 0.3,
            "parties": data,
            "align": Align(min_intersection=20),
            "model": Model(name="logistic_regression", parameters={"max_iter": 4, "tol": 0.0}),
            "evaluate": Evaluate(baseline=True),
        }
        return Job(**values | changes)

    def predicting(self, *parties: str) -> Job:
        """Return the job that also scores every row."""
        job = self.job(*parties)
        data = {name: replace(part, predict=part.train) for name, part in job.parties.items()}
        return replace(job, parties=data)


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Tables of about 300 rows; each party lacks other customers."""
    folder = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(20)
    values = {name: np.round(rng.normal(size=(ROWS, 3)), 9) for name in PARTIES}
    score = sum(v @ rng.normal(size=3) for v in values.values())
    y = (rng.random(ROWS) < 1 / (1 + np.exp(-score))).astype(int)
    ids = np.array([f"customer-{number:010d}" for number in rng.choice(10**10, ROWS, replace=False)])
    frames, files = {}, {}
    for at, name in enumerate(PARTIES):
        columns = {f"{name}_{letter}": values[name][:, i] for i, letter in enumerate("uvw")}
        frame = pd.DataFrame({"customer": ids, **({"y": y} if name == "bank" else {}), **columns})
        kept = rng.permutation(np.delete(np.arange(ROWS), slice(at * 10, at * 10 + 10)))
        frames[name] = frame.iloc[kept]
        files[name] = str(folder / f"{name}.csv")
        frames[name].to_csv(files[name], index=False)
    return Tables(frames, files)


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFederation]:
    """A running federation of three organisations, shared by the tests of a file."""
    with LocalFederation(tmp_path_factory.mktemp("federation") / "f", PARTIES, HEARTBEAT) as running:
        yield running


@pytest.fixture
def submit(federation: LocalFederation, operator: Operator) -> Callable[[Job], str]:
    """Return `submit(job) -> run`, which registers the job's files at the workers first."""

    def register_and_submit(job: Job) -> str:
        for name, data in job.parties.items():
            federation.register(name, data.sources())
        return operator.submit(job.with_named_sources())

    return register_and_submit


@pytest.fixture
def operator(federation: LocalFederation) -> Iterator[Operator]:
    """An operator of that federation."""
    with federation.operator() as connected:
        yield connected
