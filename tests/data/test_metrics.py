"""Every metric equals scikit-learn's to 1e-12, with ties, constants and weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from sklearn import metrics as theirs

from engine.data import evaluate, require_metrics
from engine.data.metrics import CLASSIFICATION, METRICS, REGRESSION
from engine.errors import Misuse

PROBABILITIES = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, 1.0]))


def binary(score):
    return score >= 0.5


def sklearn_ks(y, score, sample_weight):
    ones, zeros, _ = theirs.roc_curve(y, score, sample_weight=sample_weight, drop_intermediate=False)
    return np.max(np.abs(ones - zeros))


def decided(function, **options):
    return lambda y, score, sample_weight: function(y, binary(score), sample_weight=sample_weight, **options)


REFERENCE = {
    "auc": theirs.roc_auc_score,
    "ks": sklearn_ks,
    "pr_auc": theirs.average_precision_score,
    "log_loss": lambda y, score, sample_weight: theirs.log_loss(y, score, sample_weight=sample_weight, labels=[0, 1]),
    "brier": theirs.brier_score_loss,
    "accuracy": decided(theirs.accuracy_score),
    "precision": decided(theirs.precision_score, zero_division=0),
    "recall": decided(theirs.recall_score, zero_division=0),
    "f1": decided(theirs.f1_score, zero_division=0),
    "rmse": theirs.root_mean_squared_error,
    "mse": theirs.mean_squared_error,
    "mae": theirs.mean_absolute_error,
    "r2": theirs.r2_score,
    "mean_poisson_deviance": theirs.mean_poisson_deviance,
}


def rows(*columns):
    return st.lists(st.tuples(*columns), min_size=2, max_size=40)


def check(names, y, score, weight):
    ours = evaluate(names, y, score, weight)
    assert set(ours) == set(names)
    for name, value in ours.items():
        expected = REFERENCE[name](np.array(y), np.array(score), sample_weight=weight)
        assert value == pytest.approx(expected, rel=1e-12, abs=1e-12), name


def test_every_metric_has_a_reference():
    assert set(REFERENCE) == set(METRICS)


@given(rows(st.integers(0, 1), PROBABILITIES, st.integers(1, 3)), st.booleans())
def test_classification(given_rows, weighted):
    y, score, weight = zip(*[*given_rows, (0, 0.5, 1), (1, 0.5, 1)], strict=True)  # both classes
    check(CLASSIFICATION, y, score, np.array(weight, float) if weighted else None)


@given(rows(st.integers(0, 5), st.floats(1e-3, 1e3), st.integers(1, 3)), st.booleans())
def test_regression(given_rows, weighted):
    y, score, weight = zip(*given_rows, strict=True)
    check(REGRESSION, y, score, np.array(weight, float) if weighted else None)


@pytest.mark.parametrize("name", list(METRICS))
def test_a_zero_weight_leaves_a_row_out(name):
    y, score = [0, 1, 1, 0, 1], [0.2, 0.9, 0.4, 0.6, 0.5]
    assert evaluate([name], y, score, [1, 1, 1, 1, 0]) == evaluate([name], y[:4], score[:4])


def test_ks_is_the_two_sample_statistic():
    rng = np.random.default_rng(0)
    y, score = rng.integers(0, 2, 300), rng.integers(0, 20, 300) / 20
    assert evaluate(["ks"], y, score)["ks"] == pytest.approx(
        ks_2samp(score[y == 1], score[y == 0]).statistic, abs=1e-12
    )


def test_constants_and_single_classes():
    assert evaluate(["auc", "ks"], [0, 1, 1], [0.3] * 3) == {"auc": 0.5, "ks": 0.0}
    assert all(np.isnan(list(evaluate(["auc", "ks", "pr_auc"], [0, 0], [0.1, 0.2]).values())))
    assert np.isnan(evaluate(["auc"], [1, 1], [0.1, 0.2])["auc"])
    assert evaluate(["r2"], [2, 2], [2, 2]) == {"r2": 1.0}
    assert evaluate(["r2"], [2, 2], [2, 3]) == {"r2": 0.0}
    assert np.isnan(evaluate(["r2"], [2], [2])["r2"])
    assert evaluate(["precision", "recall", "f1"], [0, 0], [0, 0]) == {"precision": 0, "recall": 0, "f1": 0}


@pytest.mark.parametrize(
    ("names", "y", "score", "part"),
    [
        (["acu"], [0, 1], [0, 1], "no metric 'acu'; did you mean 'auc'?"),
        (["auc"], [0, 1, 1], [0, 1], "as many of one as of the others"),
        (["auc"], [0, 1], [0, np.nan], "must be finite"),
        (["auc"], [], [], "at least one row"),
        (["rmse", "auc", "f1"], [0, 2], [0, 1], "so auc, f1 cannot be computed"),
        (["log_loss"], [0, 1], [0, 1.5], "probabilities between 0 and 1"),
        (["brier"], [0, 1], [-1, 1], "probabilities between 0 and 1"),
        (["mean_poisson_deviance"], [0, 1], [0, 1], "predictions above 0"),
    ],
)
def test_misuse_is_told(names, y, score, part):
    with pytest.raises(Misuse) as told:
        evaluate(names, y, score)
    assert part in str(told.value)


def test_all_unknown_metrics_are_told():
    require_metrics(METRICS)
    with pytest.raises(Misuse) as told:
        require_metrics(["acu", "auc", "logloss"])
    assert len(str(told.value).splitlines()) == 2
