"""The plaintext models that the joint model is measured against; scikit-learn on the same rows and features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from engine.data import Preprocessor, Table, evaluate

Floats = NDArray[np.float64]


def baseline(tables: Mapping[str, Table], metrics: Sequence[str], l2: float) -> dict[str, dict[str, float]]:
    """Train a logistic regression on the columns of one table and measure it, as `measure` does.

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
        part: measure(metrics, _label(table), score(features.transform(table).values))
        for part, table in measured.items()
    }


def measure(metrics: Sequence[str], label: Floats, score: Floats) -> dict[str, float]:
    """Return each metric that these rows define: with labels of one class there is no AUC."""
    return {name: value for name, value in evaluate(metrics, label, score).items() if isfinite(value)}


def joined(tables: Mapping[str, Mapping[str, Table]]) -> dict[str, Table]:
    """Join the tables of all parties in clear, part by part: the rows that all hold, columns named `party.column`.

    Args:
        tables: party -> part -> table; the label holder first.
    """
    parts = next(iter(tables.values()))
    return {part: _side_by_side({name: of_party[part] for name, of_party in tables.items()}) for part in parts}


def _side_by_side(tables: Mapping[str, Table]) -> Table:
    places = [{key: row for row, key in enumerate(_ids(table))} for table in tables.values()]
    shared = [key for key in places[0] if all(key in place for place in places[1:])]
    aligned = {
        name: table.take(np.array([place[key] for key in shared], dtype=np.int64))
        for (name, table), place in zip(tables.items(), places, strict=True)
    }
    columns = [replace(c, name=f"{name}.{c.name}") for name, table in aligned.items() for c in table.columns]
    return replace(next(iter(aligned.values())), columns=tuple(columns))


def _ids(table: Table) -> Iterator[tuple[str, ...]]:
    """Yield each row's id in the form in which `engine.psi.identifiers` compares ids."""
    return zip(*([normalize("NFC", text).strip() for text in key] for key in table.keys), strict=True)


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
