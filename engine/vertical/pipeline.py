"""From tables to a joint model and back: align rows, turn columns into features, train, score. One function a step, the
same on every side; what differs between label holder and feature holders is inside the protocols.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.data import Fitted, Preprocessor, Table, require_binary_label
from engine.errors import Misuse, Refused
from engine.psi import identifiers
from engine.psi.align import align
from engine.runtime.party import Party
from engine.vertical.glm import GlmPart

Floats = NDArray[np.float64]

FORMAT = "synergos vertical model part 1"
RARE = 50  # levels on fewer training rows share a feature, so that a released weight never speaks of a few people


class Estimator(Protocol):
    """What a vertical model needs to be trained here; all sides call `fit` at once on aligned rows."""

    @property
    def keeps_rare_levels(self) -> bool:
        """Whether weights stay shared, so that features of a few rows do no harm."""

    def fit(
        self, party: Party, X: Floats, y: Floats | None = None, *, monitor: tuple[Floats, Floats | None] | None = None
    ) -> GlmPart:
        """Train with the other parties and return this party's part."""


def align_parts(
    party: Party, tables: Mapping[str, Table], *, protocol: str, min_intersection: int, context: bytes
) -> dict[str, Table]:
    """Return each part ("train", "evaluate", "predict") with the rows that all parties hold, in the agreed order.

    One intersection serves all parts: the part's name is one more column of the identifier, so a row matches only rows
    of the same part, and the minimum applies to all rows together.
    """
    lengths = {part: len(table) for part, table in tables.items()}
    names = np.repeat(np.array(list(tables), dtype=object), list(lengths.values()))
    columns = [np.concatenate(column) for column in zip(*(table.keys for table in tables.values()), strict=True)]
    spec = identifiers.Spec(columns=len(columns) + 1)
    keys = identifiers.encode((*columns, names), spec)
    try:
        rows = align(party, keys, protocol=protocol, min_intersection=min_intersection, context=context, spec=spec)
    except Refused as refusal:
        if refusal.who != party.name:
            raise
        table = next(iter(tables.values()))
        where = " and ".join(map(repr, table.key_names))
        raise Refused(party.name, f"{refusal.rule} (here {where} in {table.source})") from None
    aligned, start = {}, 0
    for part, table in tables.items():
        inside = (rows >= start) & (rows < start + lengths[part])
        aligned[part] = table.take(rows[inside] - start)
        start += lengths[part]
    return aligned


@dataclass(frozen=True, eq=False)
class ModelPart:
    """One party's part of a joint model: how its columns become features, and its part of the weights."""

    features: Fitted
    glm: GlmPart

    def scores(self, party: Party, table: Table) -> Floats | None:
        """Score aligned rows together: probabilities, float64 (n,), at the label holder, None elsewhere."""
        return self.glm.predict_proba(party, self.features.transform(table).values)

    def coefficients(self) -> dict[str, float] | None:
        """Return own weights by feature (of standardised columns), or None where they stay shared."""
        weights = self.glm.coefficients()
        return None if weights is None else dict(zip(self.features.names, map(float, weights), strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return the part as plain values; it holds this party's secrets, so store it like data."""
        return {"format": FORMAT, "features": self.features.to_json(), "glm": self.glm.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelPart:
        """Read back what `to_json` wrote; Misuse for anything else."""
        if data.get("format") != FORMAT:
            raise Misuse(f"this is not a model part of the format {FORMAT!r}")
        return cls(Fitted.from_json(data["features"]), GlmPart.from_json(data["glm"]))


def prepare(estimator: Estimator, table: Table) -> Fitted:
    """Fit the features of one party on its training rows; Misuse names party, file and column."""
    if table.label_name is not None:
        require_binary_label(table)
    return Preprocessor(min_frequency=0 if estimator.keeps_rare_levels else RARE).fit(table)


def train(party: Party, estimator: Estimator, table: Table, monitor: Table | None = None) -> ModelPart:
    """Train on aligned rows; `monitor` is a further aligned table whose loss is shown while training."""
    features = prepare(estimator, table)
    watched = None
    if monitor is not None and len(monitor):
        watched = (features.transform(monitor).values, monitor.label)
    glm = estimator.fit(party, features.transform(table).values, table.label, monitor=watched)
    return ModelPart(features, glm)


def split(tables: Mapping[str, Table], fraction: float | None, seed: int) -> dict[str, Table]:
    """Hold out a fraction of the training rows for evaluation, by a keyed hash of the id; None leaves all as it is."""
    if fraction is None:
        return dict(tables)
    kept, held = tables["train"].split(fraction, seed)
    return {**tables, "train": kept, "evaluate": held}
