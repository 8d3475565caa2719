"""README's example runs as it stands, and its job is one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine import jobfile
from engine.vertical.job import parameters_of

README = Path(__file__).parents[1] / "README.md"


def block(language: str) -> str:
    """Return the one block of code in this language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    return str(found)


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(1)
    values = random.standard_normal((600, 2))
    label = (values.sum(axis=1) + random.logistic(size=600) > 0).astype(int)
    whole = pd.DataFrame({"customer": np.arange(600), "defaulted": label, "age": values[:, 0], "calls": values[:, 1]})
    bank, telco = whole[["customer", "defaulted", "age"]], whole[["customer", "calls"]]
    names = {"bank": bank[:400], "telco": telco[:400], "bank_test": bank[400:], "telco_test": telco[400:]}
    exec(block("python"), names)
    said = capsys.readouterr().out
    assert "'auc': 0." in said
    assert "Disclosure ledger of bank" in said
    scores = names["model"].predict(names["fed"], bank=bank[400:401].drop(columns="defaulted"), telco=telco[400:401])
    assert len(scores) == 1, "one row can be scored"


def test_the_job_is_one() -> None:
    job = jobfile.parse(block("toml"), None, parameters_of)
    assert job.order == ("bank", "telco")


def test_the_pages_it_names_are_there() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
