"""Joint logistic regression against the pooled plaintext model, its guards, and prediction in both forms."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression as Pooled
from sklearn.metrics import log_loss, roc_auc_score

from engine.errors import Misuse, PeerFault
from engine.runtime.party import Party
from engine.vertical.glm import MESSAGES, GlmPart, LogisticRegression


def fit(play: Any, data: Any, **options: Any) -> dict[str, GlmPart]:
    estimator = LogisticRegression(**{"scheme": "clear", "max_iter": 40, **options})

    def role(party: Party) -> GlmPart:
        return estimator.fit(party, data.of(party.name), data.label(party.name))

    return dict(play(dict.fromkeys(data.names, role), MESSAGES))


def scores(play: Any, data: Any, parts: dict[str, GlmPart], rows: slice = slice(None)) -> Any:
    def role(party: Party) -> Any:
        return parts[party.name].decision_function(party, data.of(party.name)[rows])

    played = play(dict.fromkeys(data.names, role), MESSAGES)
    assert all(played[name] is None for name in data.names[1:])
    return played[data.names[0]]


@pytest.mark.parametrize("columns", [(3, 4), (0, 4), (2, 3, 2), (1, 1, 1, 3)])
@pytest.mark.parametrize("release", ["weights-to-owner", "none"])
def test_equals_the_pooled_model(play: Any, joint: Any, columns: Any, release: str) -> None:
    data = joint(rows=3000, columns=columns, strength=0.7)
    parts = fit(play, data, release=release)
    z = scores(play, data, parts)
    pooled = Pooled().fit(data.whole, data.y)
    reference = pooled.decision_function(data.whole)
    assert roc_auc_score(data.y, z) == pytest.approx(roc_auc_score(data.y, reference), abs=1e-3)
    joint_loss = log_loss(data.y, 1 / (1 + np.exp(-z)))
    assert joint_loss == pytest.approx(log_loss(data.y, 1 / (1 + np.exp(-reference))), abs=2e-3)
    assert np.corrcoef(z, reference)[0, 1] > 0.999
    if release == "none":
        assert all(part.weights is None and part.coefficients() is None for part in parts.values())
    else:
        together = np.concatenate([parts[name].coefficients() for name in data.names])
        assert np.abs(together - pooled.coef_[0]).max() < 0.1


def test_rlwe_and_clear_train_the_same_model(play: Any, joint: Any) -> None:
    data = joint(rows=300, columns=(2, 3, 2))
    clear, rlwe = (fit(play, data, scheme=scheme, max_iter=4) for scheme in ("clear", "rlwe"))
    for name in data.names:
        assert np.allclose(clear[name].weights, rlwe[name].weights, atol=1e-4)
    assert np.allclose(
        [loss for _, loss in clear["bank"].course.losses], [loss for _, loss in rlwe["bank"].course.losses], atol=1e-5
    )


@pytest.mark.parametrize("release", ["weights-to-owner", "none"])
@pytest.mark.parametrize("columns", [(3, 4), (2, 3, 2)])
def test_one_row_scores_like_many(play: Any, joint: Any, release: str, columns: Any) -> None:
    data = joint(rows=400, columns=columns)
    parts = fit(play, data, release=release, max_iter=6, scheme="rlwe")
    many = scores(play, data, parts)
    assert scores(play, data, parts, slice(7, 8)) == pytest.approx(many[7:8], abs=1e-5)


def test_many_columns_over_few_positives_keep_the_weights_shared(play: Any, joint: Any) -> None:
    """min(positives, negatives) / 8 bounds the columns whose weights a feature holder may learn."""
    data = joint(rows=200, columns=(2, 30))
    parts = fit(play, data, max_iter=5)
    assert parts["telco"].weights is None
    assert parts["bank"].shares is not None
    assert len(scores(play, data, parts)) == 200


def test_a_rare_column_keeps_the_weights_shared(play: Any, joint: Any) -> None:
    data = joint(rows=400, columns=(2, 2))
    data.X[1][:, 0] = 0.0
    data.X[1][:49, 0] = 1.0
    assert fit(play, data, max_iter=3)["telco"].weights is None
    data.X[1][49, 0] = 1.0
    assert fit(play, data, max_iter=3)["telco"].weights is not None


def test_training_stops_before_scores_leave_the_series(play: Any, joint: Any) -> None:
    data = joint(rows=400, columns=(2, 2), strength=50.0)
    parts = fit(play, data, max_iter=200, l2=0.0)
    assert "neared the end" in parts["bank"].course.ended
    z = scores(play, data, parts)
    assert np.isfinite(z).all()
    assert 5 < np.abs(z).max() < 16
    assert roc_auc_score(data.y, z) > 0.99


def test_early_stopping_watches_held_out_rows(play: Any, joint: Any) -> None:
    data = joint(rows=600)
    parts = fit(play, data, early_stopping=True, check_every=1, max_iter=60, tol=1e-3)
    course = parts["bank"].course
    assert course.measured_on == "monitor"
    assert "no longer improves" in course.ended
    assert len(course.losses) < 60
    assert course == parts["telco"].course


def test_loss_of_further_rows_is_shown(play: Any, joint: Any) -> None:
    data, more = joint(rows=500), joint(rows=200, seed=1)
    estimator = LogisticRegression(scheme="clear", max_iter=6)

    def role(party: Party) -> GlmPart:
        monitor = (more.of(party.name), more.label(party.name))
        return estimator.fit(party, data.of(party.name), data.label(party.name), monitor=monitor)

    parts = play(dict.fromkeys(data.names, role), MESSAGES)
    z = scores(play, more, parts)
    assert parts["bank"].course.losses[-1][1] == pytest.approx(log_loss(more.y, 1 / (1 + np.exp(-z))), abs=8e-3)


def test_l2_shrinks(play: Any, joint: Any) -> None:
    data = joint(rows=500)
    loose, tight = (fit(play, data, l2=l2)["telco"].weights for l2 in (0.0, 1000.0))
    assert np.linalg.norm(tight) < 0.5 * np.linalg.norm(loose)


def test_parts_survive_a_file(play: Any, joint: Any) -> None:
    data = joint(rows=300, columns=(2, 3, 2))
    for release in ("weights-to-owner", "none"):
        parts = fit(play, data, max_iter=3, release=release)
        again = {name: GlmPart.from_json(json.loads(json.dumps(part.to_json()))) for name, part in parts.items()}
        assert scores(play, data, again) == pytest.approx(scores(play, data, parts), abs=1e-5)
    with pytest.raises(Misuse, match="not a model part"):
        GlmPart.from_json({"format": "pickle"})


def test_parts_of_two_models_do_not_mix(play: Any, joint: Any) -> None:
    data = joint(rows=300)
    one, other = fit(play, data, max_iter=2), fit(play, data, max_iter=2)
    with pytest.raises(PeerFault, match="they differ in model"):
        scores(play, data, {"bank": one["bank"], "telco": other["telco"]})


def test_parameters_must_agree(play: Any, joint: Any) -> None:
    data = joint(rows=100)

    def role(party: Party) -> Any:
        estimator = LogisticRegression(scheme="clear", l2=1.0 if party.name == "bank" else 2.0)
        return estimator.fit(party, data.of(party.name), data.label(party.name))

    with pytest.raises(PeerFault, match="they differ in model"):
        play(dict.fromkeys(data.names, role), MESSAGES)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda X, y: (X, None), "give labels there"),
        (lambda X, y: (X, np.ones_like(y)), "both of them"),
        (lambda X, y: (X, y + 1), "0 or 1"),
        (lambda X, y: (X[:1], y[:1]), "at least two rows"),
        (lambda X, y: (np.where(X > 2, np.nan, X), y), "not finite"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(play: Any, joint: Any, spoil: Any, says: str) -> None:
    data = joint(rows=300)

    def role(party: Party) -> Any:
        X, y = data.of(party.name), data.label(party.name)
        X, y = spoil(X, y) if party.name == "bank" else (X, y)
        return LogisticRegression(scheme="clear").fit(party, X, y)

    with pytest.raises(Misuse, match=says):
        play(dict.fromkeys(data.names, role), MESSAGES)


@pytest.mark.parametrize("wrong", [{"l2": -1.0}, {"max_iter": 0}, {"check_every": 0}, {"release": "all"}])
def test_wrong_parameters_say_which(wrong: dict[str, Any]) -> None:
    with pytest.raises(Misuse, match=next(iter(wrong))):
        LogisticRegression(**wrong)
