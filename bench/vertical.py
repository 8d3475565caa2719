"""Joint models: a whole training, both parties' CPU together, on rows that are aligned already.

Plain: scikit-learn on the pooled columns, to its own convergence. The frameworks that train the same models need
clusters of services or Python releases of their own and are not started here: their rows give no value but say what
their authors published, so that nobody has to look for it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.clock import cpu_seconds, timed
from bench.contest import Contest
from bench.peers import Elsewhere
from engine.parties import run_local
from engine.runtime.party import Party
from engine.vertical import GlmPart, LogisticRegression, glm

COLUMNS = (10, 20)
MODEL = LogisticRegression()
QUICK = (4_000,)
FULL = (20_000,)
LOGISTIC = (
    Elsewhere("FATE 2.0 SSHE-LR", ("cpu",), "294 s an epoch at 100,000 x (30 + 300), 16 cores a party, wall time"),
    Elsewhere("SecretFlow SS-LR", ("cpu",), "694 s at 800,000 x 3,000, 32 cores, 100 Mb/s and 50 ms, wall time"),
)


def contests(quick: bool) -> list[Contest]:
    """Return one contest for each model and size."""
    return [logistic(rows, *COLUMNS) for rows in (QUICK if quick else FULL)]


def logistic(rows: int, holder: int, feature_holder: int, model: LogisticRegression = MODEL) -> Contest:
    """Return the contest of a logistic regression on synthetic rows, the columns split between two parties."""
    numbers = np.random.default_rng(1)
    features = numbers.standard_normal((rows, holder + feature_holder))
    odds = features @ numbers.standard_normal(holder + feature_holder) / 3
    label = (numbers.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.float64)
    parts = dict(zip(("holder", "features"), np.hsplit(features, [holder]), strict=True))

    def role(party: Party) -> GlmPart:
        return model.fit(party, parts[party.name], label if party.name == "holder" else None)

    def measure() -> dict[str, float]:
        seconds, (parties, _) = timed(lambda: run_local(tuple(parts), glm.MESSAGES, role))
        return {"cpu": seconds, "bytes": sum(parties["holder"].ledger.bytes_by_pair().values()) / 1e6}

    return Contest(
        suite="vertical",
        size=f"{rows:,} x ({holder} + {feature_holder})",
        cases={"cpu": ("logistic shared", "s CPU"), "bytes": ("logistic shared bytes", "MB")},
        ours=measure,
        peers=LOGISTIC,
        plain=_sklearn(features, label),
    )


def _sklearn(features: np.ndarray, label: np.ndarray) -> Callable[[], dict[str, float]]:
    from sklearn.linear_model import LogisticRegression as Pooled

    return lambda: {"cpu": cpu_seconds(lambda: Pooled().fit(features, label))}
