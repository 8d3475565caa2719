"""The jobs of `synergos demo`: two organisations, made from one public table or brought as two files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.resources import as_file, files
from pathlib import Path

from engine.jobfile import Align, Evaluate, Job, Model, PartyData
from engine.jobrules import may_be_called

EVALUATE = 0.25
_APPLICANT = (
    "present_employment_since",
    "personal_status_and_sex",
    "other_debtors_or_guarantors",
    "present_residence_since",
    "property",
    "age_in_years",
    "other_installment_plans",
    "housing",
    "job",
    "number_of_people_being_liable_to_provide_maintenance_for",
    "telephone",
    "foreign_worker",
)


@contextmanager
def german_credit() -> Iterator[Job]:
    """Give a job on German credit (see demo_data/README.md), whose files exist until the block ends."""
    import pandas as pd

    with as_file(files("node") / "demo_data" / "german_credit.csv.gz") as packed:
        table = pd.read_csv(packed)
    digests = [sha256(f"synergos-demo:{row}".encode()).hexdigest() for row in range(len(table))]
    table.insert(0, "customer", [f"C{digest[:10]}" for digest in digests])
    table["bad"] = (table.pop("creditability") == "bad").astype(int)
    tenth = pd.Series([int(digest[-8:], 16) % 10 for digest in digests])
    applicant = table.loc[tenth != 0, ["customer", "bad", *_APPLICANT]].sort_values("customer")
    account = table.loc[tenth != 1].drop(columns=["bad", *_APPLICANT])
    with tempfile.TemporaryDirectory(prefix="synergos-demo-") as folder:
        paths = {name: Path(folder) / f"{name}.csv" for name in ("lender", "bank")}
        applicant.to_csv(paths["lender"], index=False)
        account.to_csv(paths["bank"], index=False)
        # Some 600 rows to train on: at the default penalty the model learns them by heart.
        yield _job(paths, "customer", "bad", "german-credit", l2=20.0)


@contextmanager
def own(label_holder: Path, feature_holder: Path, id: str, label: str) -> Iterator[Job]:
    """Give a job on two files; the parties are called after them where these are names for parties."""
    names = [label_holder.name.split(".")[0], feature_holder.name.split(".")[0]]
    if names[0] == names[1] or not all(map(may_be_called, names)):
        names = ["label_holder", "feature_holder"]
    yield _job(dict(zip(names, (label_holder, feature_holder), strict=True)), id, label, "demo")


def _job(paths: dict[str, Path], id: str, label: str, experiment: str, **parameters: float) -> Job:
    holder, *_ = paths
    return Job(
        project="demo",
        experiment=experiment,
        evaluate_fraction=EVALUATE,
        parties={
            name: PartyData(train=str(path), id=(id,), label=label if name == holder else None)
            for name, path in paths.items()
        },
        align=Align(min_intersection=100),
        model=Model(name="logistic_regression", parameters=parameters),
        evaluate=Evaluate(baseline=True),
    )
