"""How good predictions are; equal to scikit-learn's functions, with numpy alone.

For classifiers `y` is 0 or 1 and `score` the probability of 1; a row is predicted 1 from 0.5 on. For regressions
`score` is the predicted value. `weight` counts a row several times; zero leaves it out. A metric that the rows leave
undefined, the AUC of one class for instance, is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.data.nearest import suggestion
from engine.errors import Misuse

Floats = NDArray[np.float64]
Metric = Callable[[Floats, Floats, Floats], float]


def evaluate(names: Iterable[str], y: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> dict[str, float]:
    """Return each named metric of predictions `score` (n,) for labels `y` (n,).

    Raises:
        Misuse: unknown name, no rows, unequal lengths, a value that is not finite, or one that the metric cannot take.
    """
    names = tuple(names)
    require_metrics(names)
    truth, said = np.asarray(y, np.float64), np.asarray(score, np.float64)
    weights = np.ones(truth.shape) if weight is None else np.asarray(weight, np.float64)
    if truth.ndim != 1 or not truth.shape == said.shape == weights.shape:
        raise Misuse("labels, predictions and weights are one number a row each; give as many of one as of the others")
    if not (np.isfinite(truth).all() and np.isfinite(said).all() and np.isfinite(weights).all()):
        raise Misuse("labels, predictions and weights must be finite numbers")
    if (weights < 0).any() or not weights.any():
        raise Misuse("a metric needs at least one row, and weights that are not negative")
    kept = weights > 0
    truth, said, weights = truth[kept], said[kept], weights[kept]
    if not np.isin(truth, (0.0, 1.0)).all() and (binary := [name for name in names if name in CLASSIFICATION]):
        raise Misuse(f"the label is not 0 or 1 in every row, so {', '.join(binary)} cannot be computed")
    return {name: float(METRICS[name](truth, said, weights)) for name in names}


def require_metrics(names: Iterable[str]) -> None:
    """Raise Misuse, one line a name, for names that are no metrics."""
    if unknown := [name for name in names if name not in METRICS]:
        raise Misuse("\n".join(f"there is no metric {name!r}; {suggestion(name, METRICS)}" for name in unknown))


def _curve(y: Floats, score: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Return the weight of ones and of zeros at or above each distinct score, from the highest down; from (0, 0)."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    ones, zeros = np.cumsum((weight * y)[order])[last], np.cumsum((weight * (1 - y))[order])[last]
    return np.append(0.0, ones), np.append(0.0, zeros)


def _rates(y: Floats, score: Floats, weight: Floats) -> tuple[Floats, Floats] | None:
    """Return the curve as shares of all ones and all zeros, or None for one class."""
    ones, zeros = _curve(y, score, weight)
    return (ones / ones[-1], zeros / zeros[-1]) if ones[-1] and zeros[-1] else None


def _auc(y: Floats, score: Floats, weight: Floats) -> float:
    rates = _rates(y, score, weight)
    return float(np.trapezoid(*rates)) if rates else np.nan


def _ks(y: Floats, score: Floats, weight: Floats) -> float:
    rates = _rates(y, score, weight)
    return float(np.abs(rates[0] - rates[1]).max()) if rates else np.nan


def _pr_auc(y: Floats, score: Floats, weight: Floats) -> float:
    ones, zeros = _curve(y, score, weight)
    if not ones[-1]:
        return np.nan
    return float(np.sum(np.diff(ones) / ones[-1] * ones[1:] / (ones[1:] + zeros[1:])))


def _log_loss(y: Floats, score: Floats, weight: Floats) -> float:
    _require_probabilities(score)
    p = np.clip(score, _EPSILON, 1 - _EPSILON)
    return _mean(-np.where(y == 1, np.log(p), np.log(1 - p)), weight)


def _brier(y: Floats, score: Floats, weight: Floats) -> float:
    _require_probabilities(score)
    return _mean((y - score) ** 2, weight)


def _accuracy(y: Floats, score: Floats, weight: Floats) -> float:
    return _mean((score >= _THRESHOLD) == (y == 1), weight)


def _precision(y: Floats, score: Floats, weight: Floats) -> float:
    said = score >= _THRESHOLD
    return _share(weight[said & (y == 1)], weight[said])


def _recall(y: Floats, score: Floats, weight: Floats) -> float:
    return _share(weight[(score >= _THRESHOLD) & (y == 1)], weight[y == 1])


def _f1(y: Floats, score: Floats, weight: Floats) -> float:
    said, true = score >= _THRESHOLD, y == 1
    return _share(2 * weight[said & true], np.append(weight[said], weight[true]))


def _mae(y: Floats, score: Floats, weight: Floats) -> float:
    return _mean(np.abs(y - score), weight)


def _mse(y: Floats, score: Floats, weight: Floats) -> float:
    return _mean((y - score) ** 2, weight)


def _rmse(y: Floats, score: Floats, weight: Floats) -> float:
    return float(np.sqrt(_mse(y, score, weight)))


def _r2(y: Floats, score: Floats, weight: Floats) -> float:
    if len(y) < 2:
        return np.nan
    left, total = np.sum(weight * (y - score) ** 2), np.sum(weight * (y - _mean(y, weight)) ** 2)
    if not total:
        return float(not left)
    return float(1 - left / total)


def _mean_poisson_deviance(y: Floats, score: Floats, weight: Floats) -> float:
    if (y < 0).any() or (score <= 0).any():
        raise Misuse("the Poisson deviance needs labels that are not negative and predictions above 0")
    ratio = np.where(y > 0, y / score, 1.0)
    return _mean(2 * (y * np.log(ratio) - y + score), weight)


def _mean(values: NDArray[Any], weight: Floats) -> float:
    return float(np.average(values, weights=weight))


def _share(part: Floats, whole: Floats) -> float:
    """Return sum(part) / sum(whole), 0 for nothing of nothing, as scikit-learn has it."""
    return float(part.sum() / whole.sum()) if whole.size else 0.0


def _require_probabilities(score: Floats) -> None:
    if (score < 0).any() or (score > 1).any():
        raise Misuse("log_loss and brier need probabilities between 0 and 1 as predictions")


_THRESHOLD = 0.5
_EPSILON = float(np.finfo(np.float64).eps)  # where scikit-learn cuts probabilities off

CLASSIFICATION: dict[str, Metric] = {
    "auc": _auc,
    "ks": _ks,
    "pr_auc": _pr_auc,
    "log_loss": _log_loss,
    "brier": _brier,
    "accuracy": _accuracy,
    "precision": _precision,
    "recall": _recall,
    "f1": _f1,
}
REGRESSION: dict[str, Metric] = {
    "rmse": _rmse,
    "mse": _mse,
    "mae": _mae,
    "r2": _r2,
    "mean_poisson_deviance": _mean_poisson_deviance,
}
METRICS: dict[str, Metric] = CLASSIFICATION | REGRESSION
