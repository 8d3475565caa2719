"""Logistic regression across organisations: the estimator, and the part of the model that each party keeps.

`LogisticRegression(...).fit(party, X, y)` runs on every side at once, with `y` at the label holder and None elsewhere;
rows are aligned. The protocol is `engine.vertical.shared`; this file says in which order its steps are taken:
Nesterov's accelerated gradient with the public schedule t' = (1 + sqrt(1 + 4 t^2)) / 2 and the step
1 / (0.3 P + l2 / n), P the number of parties and n of rows, on whitened features (`engine.vertical.whitening` says why
the step needs no tuning).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import he
from engine.errors import Misuse
from engine.runtime.party import Party
from engine.vertical import score, shared
from engine.vertical.series import REACH_LIMIT, reach, sigmoid, softplus_even
from engine.vertical.shared import WEIGHT_BITS, Computing, Features, Share
from engine.vertical.whitening import FEATURE_BITS, Whitening, quantise

Floats = NDArray[np.float64]

MESSAGES = (*shared.MESSAGES, *score.MESSAGES)
FORMAT = "synergos logistic regression part 1"
_MOMENTUM_BITS = 10
_REACH_BITS = 26  # finer than the rest: one row among millions must show in the sum
_STEP_DIGITS = 10
_LEAST_WATCHED = 50  # rows whose mean loss may be shown, besides the training rows: of fewer it would tell labels
_OFF_MODE = 50  # rows off its most frequent value that a column needs before its weight may be released


@dataclass(frozen=True, kw_only=True)
class LogisticRegression:
    """Binary logistic regression; names as in scikit-learn where they mean the same."""

    l2: float = 1.0  # penalty 0.5 * l2 * |w|^2 on the summed loss, intercept free; acts on the whitened weights
    max_iter: int = 15  # passes over all rows
    early_stopping: bool = False  # hold out `validation_fraction` of the training rows, stop when their loss stays
    validation_fraction: float = 0.1
    n_iter_no_change: int = 3  # looks without improvement by `tol` after which it stops
    tol: float = 1e-4
    check_every: int = 3  # iterations between two looks at the loss and at the reach of the scores
    release: str = "weights-to-owner"  # "none": weights stay shared and prediction runs on the shares
    scheme: str = "rlwe"  # "clear" encrypts nothing, for tests in one process
    seed: int = 42  # chooses the held-out rows; nothing secret depends on it
    audit: bool = False  # for debugging: at each look, check a product with known residuals (discloses one number)

    def __post_init__(self) -> None:
        checks = {
            "l2 must be at least 0": self.l2 >= 0,
            "max_iter must lie in 1 to 1000": 1 <= self.max_iter <= 1000,
            "validation_fraction must lie strictly between 0 and 1": 0 < self.validation_fraction < 1,
            "n_iter_no_change must be at least 1": self.n_iter_no_change >= 1,
            "check_every must be at least 1": self.check_every >= 1,
            'release must be "weights-to-owner" or "none"': self.release in ("weights-to-owner", "none"),
        }
        if wrong := [what for what, holds in checks.items() if not holds]:
            raise Misuse(f"logistic_regression: {'; '.join(wrong)}")

    @property
    def keeps_rare_levels(self) -> bool:
        """Whether weights stay shared in any case, so that features of a few rows do no harm."""
        return self.release == "none"

    def fit(
        self, party: Party, X: Floats, y: Floats | None = None, *, monitor: tuple[Floats, Floats | None] | None = None
    ) -> GlmPart:
        """Train with the other parties; return this party's part of the model.

        Args:
            X: own features of the aligned training rows, float64 (n, f); f = 0 is allowed at the label holder.
            y: labels 0 or 1, float64 (n,), at the label holder; None elsewhere.
            monitor: features and labels of further aligned rows whose loss is shown while training, if there are 50
                or more; else that of the training rows is.

        Raises:
            Misuse: shapes or values that cannot be trained on.
            PeerFault, LinkLost, Refused: see `engine.errors`.
        """
        leader = party.name == party.parties[0]
        _check_inputs(party.name, X, y, leader)
        party.agree({"model": json.dumps(asdict(self), sort_keys=True).encode()})
        rows = {"train": np.arange(len(X))}
        if self.early_stopping:
            held = np.random.default_rng(self.seed).random(len(X)) < self.validation_fraction
            _check_watched(int(held.sum()))
            rows = {"train": np.flatnonzero(~held), "monitor": np.flatnonzero(held)}
        values = {part: X[index] for part, index in rows.items()}
        labels = {part: y[index] for part, index in rows.items()} if y is not None else {}
        if monitor is not None and not self.early_stopping and len(monitor[0]) >= _LEAST_WATCHED:
            values["monitor"] = monitor[0]
            labels |= {"monitor": monitor[1]} if monitor[1] is not None else {}
        whitening = Whitening.fit(values["train"])
        features = Features(
            {part: _columns(x, whitening, leader) for part, x in values.items()}, _off_mode(values["train"])
        )
        part = GlmPart(party.parties, party.name, whitening, self.scheme)
        if party.name not in party.parties[:2]:
            start, own = shared.feature_holder(party, he.scheme(self.scheme), features, self.max_iter)
            return replace(part, model=start.model.hex(), weights=own)
        return self._train(party, part, features, labels)

    def _train(self, party: Party, part: GlmPart, features: Features, labels: dict[str, Floats]) -> GlmPart:
        """The label holder's and the helper's side of a training."""
        release_up_to = 0
        if labels and self.release == "weights-to-owner":
            positives = int(labels["train"].sum())
            # With fewer columns than this, gradients over sparse labels cannot be solved for single labels.
            release_up_to = min(positives, len(labels["train"]) - positives) // 8
        me = Computing(party, he.scheme(self.scheme), features, release_up_to)
        shared.refuse_overflow(me.ring, me.rows["train"], me.total, self.max_iter)
        weights, course = _Descent(self, me, labels, len(party.parties)).run()
        own = me.finish(weights)
        part = replace(part, model=me.start.model.hex(), course=course, counts=asdict(me.scheme.counts))
        return replace(part, weights=own) if own is not None else replace(part, shares=weights)


@dataclass(frozen=True, kw_only=True)
class Course:
    """How a training went: (iteration, loss) at each look, the rows it was measured on, and why it ended."""

    losses: tuple[tuple[int, float], ...] = ()
    measured_on: str = ""
    ended: str = ""


class _Descent:
    """Nesterov's method on shares, as one of the two computing parties sees it."""

    def __init__(self, options: LogisticRegression, me: Computing, labels: dict[str, Floats], parties: int) -> None:
        self.options = options
        self.me = me
        self.labels = labels
        rows = me.rows["train"]
        fraction, exponent = math.frexp(1 / (0.3 * parties * rows + options.l2))
        self.factor = round(fraction * 2**_STEP_DIGITS)  # step / rows = factor / 2^shift
        self.shift = _STEP_DIGITS - exponent
        self.watched = "monitor" if "monitor" in me.rows else "train"

    def run(self) -> tuple[Share, Course]:
        """Return the shares of all weights, uint64 (2, total), and how it went."""
        options, me = self.options, self.me
        w = ahead = best = np.zeros((2, me.total), dtype=np.uint64)
        losses: list[tuple[int, float]] = []
        t, ended, stale = 1.0, f"all {options.max_iter} iterations", 0
        for iteration in range(1, options.max_iter + 1):
            z = me.scores("train", ahead)
            look = iteration % options.check_every == 0 or iteration == options.max_iter
            if look and self._out_of_reach(z):
                w, ended = best, f"iteration {iteration}: scores neared the end of the link's series (|z| about 14)"
                break
            following = self._step(z, ahead)
            t, before = (1 + math.sqrt(1 + 4 * t * t)) / 2, t
            ahead, w = self._momentum(following, w, (before - 1) / t), following
            if not look:
                me.party.report("train", iteration, options.max_iter)
                continue
            if options.audit:
                me.audit("train")
            loss = self._loss(w)
            stale = 0 if not losses or loss < min(x for _, x in losses) - options.tol else stale + 1
            losses.append((iteration, loss))
            best = w if stale == 0 or not options.early_stopping else best
            me.party.report("train", iteration, options.max_iter, loss=loss)
            if options.early_stopping and stale >= options.n_iter_no_change:
                ended = f"iteration {iteration}: the held-out loss no longer improves"
                break
        w = best if options.early_stopping else w
        return w, Course(losses=tuple(losses), measured_on=self.watched, ended=ended)

    def _step(self, z: Share, ahead: Share) -> Share:
        """One gradient step from the look-ahead weights whose scores are z."""
        me, ring = self.me, self.me.ring
        d = me.truncate(me.link(z, sigmoid(), WEIGHT_BITS), WEIGHT_BITS)
        if me.leader:
            d = me.add_public(d, -self.labels["train"], WEIGHT_BITS)
        g = me.truncate(me.gradient("train", d), FEATURE_BITS)
        ridge = ring.scale(ahead, round(self.options.l2 * self.factor))
        ridge[:, 0] = 0  # the intercept is the label holder's first column and goes free
        return ring.subtract(ahead, me.truncate(ring.add(ring.scale(g, self.factor), ridge), self.shift))

    def _momentum(self, following: Share, w: Share, beta: float) -> Share:
        ring = self.me.ring
        push = ring.scale(ring.subtract(following, w), round(beta * 2**_MOMENTUM_BITS))
        return ring.add(following, self.me.truncate(push, _MOMENTUM_BITS))

    def _out_of_reach(self, z: Share) -> bool:
        """Whether any score comes near half the period of the link's series, beyond which it would be read wrongly."""
        total = self.me.open_sum(self.me.link(z, reach(), _REACH_BITS), 2 * _REACH_BITS)
        return total >= REACH_LIMIT

    def _loss(self, w: Share) -> float:
        """The mean log loss on the watched rows; both computing parties learn it."""
        z = self.me.scores(self.watched, w)
        summed = self.me.open_sum(self.me.loss(z, softplus_even(), self.labels.get(self.watched)), 2 * WEIGHT_BITS)
        return summed / self.me.rows[self.watched]


@dataclass(frozen=True, eq=False)
class GlmPart:
    """One party's part of a trained model; parts of one training carry the same `model`."""

    parties: tuple[str, ...]
    party: str
    whitening: Whitening
    scheme: str
    model: str = ""
    weights: Floats | None = None  # own weights, float64 (k,), if they were released
    shares: Share | None = None  # else, at the computing parties: shares of all weights, uint64 (2, total)
    course: Course = field(default_factory=Course)
    counts: dict[str, int] = field(default_factory=dict)

    def decision_function(self, party: Party, X: Floats) -> Floats | None:
        """Score aligned rows together: the scores (log odds), float64 (n,), at the label holder, None elsewhere.

        Raises:
            PeerFault: a peer's part belongs to another model.
        """
        if len(X) == 0:
            raise Misuse(f"{party.name} has no rows to score")
        leader = party.name == party.parties[0]
        party.agree({"model": self.model.encode(), "parties": repr(self.parties).encode()})
        columns = _columns(X, self.whitening, leader)
        if self.weights is not None:
            own = columns.astype(np.float64) @ self.weights / 2.0**FEATURE_BITS
            if leader:
                return score.label_holder(party, own)
            score.feature_holder(party, own)
            return None
        features = Features({"predict": columns})
        if self.shares is None:
            shared.feature_holder(party, he.scheme(self.scheme), features, 1)
            return None
        me = Computing(party, he.scheme(self.scheme), features)
        return me.open_scores(me.scores("predict", self.shares))

    def predict_proba(self, party: Party, X: Floats) -> Floats | None:
        """Return the probabilities of label 1, float64 (n,), at the label holder, None elsewhere."""
        z = self.decision_function(party, X)
        return None if z is None else 1 / (1 + np.exp(-z))

    def coefficients(self) -> Floats | None:
        """Return the weights on the features given to `fit`, shape (f,), or None where they stay shared."""
        if self.weights is None:
            return None
        own = self.weights[1:] if self.party == self.parties[0] else self.weights
        return self.whitening.matrix @ own

    def to_json(self) -> dict[str, Any]:
        """Return the part as plain values; it holds this party's secrets, so store it like data."""
        return {
            "format": FORMAT,
            "parties": list(self.parties),
            "party": self.party,
            "model": self.model,
            "scheme": self.scheme,
            "whitening": self.whitening.to_json(),
            "weights": None if self.weights is None else self.weights.tolist(),
            "shares": None if self.shares is None else self.shares.tolist(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> GlmPart:
        """Read back what `to_json` wrote; Misuse for anything else."""
        if data.get("format") != FORMAT:
            raise Misuse(f"this is not a model part of the format {FORMAT!r}")
        return cls(
            tuple(data["parties"]),
            data["party"],
            Whitening.from_json(data["whitening"]),
            data["scheme"],
            data["model"],
            None if data["weights"] is None else np.array(data["weights"], dtype=np.float64),
            None if data["shares"] is None else np.array(data["shares"], dtype=np.uint64),
        )


def _check_inputs(name: str, X: Floats, y: Floats | None, leader: bool) -> None:
    if X.ndim != 2 or len(X) < 2:
        raise Misuse(f"{name} needs features of shape (rows, columns) with at least two rows, not {X.shape}")
    if leader != (y is not None):
        raise Misuse(f"{name} is {'' if leader else 'not '}the label holder: give labels there and only there")
    if y is not None and (y.shape != (len(X),) or set(np.unique(y)) != {0.0, 1.0}):
        raise Misuse(f"{name} needs one label, 0 or 1, per row, and both of them among the training rows")
    if not leader and X.shape[1] == 0:
        raise Misuse(f"{name} brings no feature column: only the label holder may do without")


def _check_watched(rows: int) -> None:
    if rows < _LEAST_WATCHED:
        raise Misuse(
            f"early_stopping would show the mean loss of {rows} held-out rows, which could tell their labels: hold out "
            f"{_LEAST_WATCHED} or more (a larger validation_fraction, more rows), or train without it"
        )


def _columns(values: Floats, whitening: Whitening, leader: bool) -> NDArray[np.int16]:
    """Whitened features at scale 2^12; the label holder's begin with the intercept."""
    columns = quantise(whitening.apply(values))
    if not leader:
        return columns
    return np.hstack([np.full((len(values), 1), 1 << FEATURE_BITS, dtype=np.int16), columns])


def _off_mode(values: Floats) -> bool:
    """Whether every column differs from its most frequent value in at least 50 rows."""
    return all(len(column) - np.unique(column, return_counts=True)[1].max() >= _OFF_MODE for column in values.T)
