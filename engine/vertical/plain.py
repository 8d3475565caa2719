"""The plaintext models that the joint model is measured against; scikit-learn on the same rows and features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.data import Preprocessor, Table, evaluate

Floats = NDArray[np.float64]


def baseline(tables: Mapping[str, Table], metrics: Sequence[str], l2: float) -> dict[str, dict[str, float]]:
    """Train a logistic regression on the columns of one table and measure it.

    Args:
        tables: "train" and perhaps "evaluate", labelled.
        l2: penalty 0.5 * l2 * |w|^2 on the summed loss of standardised features, as in `LogisticRegression`.

    Returns:
        {"train": {metric: value}, "evaluate": {...}}.
    """
    train = tables["train"]
    features = Preprocessor().fit(train)
    score = _fit(features.transform(train).values, _label(train), l2)
    measured = {part: table for part, table in tables.items() if table.label is not None and len(table)}
    return {
        part: evaluate(metrics, _label(table), score(features.transform(table).values))
        for part, table in measured.items()
    }


def joined(parts: Sequence[Mapping[str, Table]], names: Sequence[str]) -> dict[str, Table]:
    """Put the aligned tables of all parties side by side, columns named `party.column`; the label holder first."""
    whole = {}
    for part, first in parts[0].items():
        columns = tuple(
            replace(column, name=f"{name}.{column.name}")
            for name, tables in zip(names, parts, strict=True)
            for column in tables[part].columns
        )
        whole[part] = replace(first, columns=columns)
    return whole


def _fit(X: Floats, y: Floats, l2: float) -> Callable[[Floats], Floats]:
    """Return the fitted model as a function from features to probabilities; without features, the rate of ones."""
    if not X.shape[1]:
        return lambda other: np.full(len(other), y.mean())
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / l2 if l2 > 0 else np.inf, max_iter=5000).fit(X, y)
    return lambda other: np.asarray(model.predict_proba(other)[:, 1], dtype=np.float64)


def _label(table: Table) -> Floats:
    assert table.label is not None
    return table.label
