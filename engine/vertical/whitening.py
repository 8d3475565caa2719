"""Party-local whitening: each party turns its own features into uncorrelated columns of unit variance.

Nothing is disclosed by it. The joint Gram matrix of P whitened blocks has no eigenvalue above P, which gives a step
size that needs no tuning, and a dozen iterations then reach what plain standardised features need fifty for. The ridge
penalty acts on the whitened weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse

Floats = NDArray[np.float64]

FEATURE_BITS = 12
CLIP = 8.0
_LEAST = 1e-3  # directions whose variance is below this share of the largest are dropped: noise, or exact duplicates


@dataclass(frozen=True, eq=False)
class Whitening:
    """x -> clip((x - mean) @ matrix, +-8): `mean` (f,), `matrix` (f, k) with k <= f directions kept."""

    mean: Floats
    matrix: Floats

    @classmethod
    def fit(cls, values: Floats) -> Whitening:
        """Fit on training features (n, f), f = 0 allowed; Misuse when a value is not finite."""
        if not np.isfinite(values).all():
            raise Misuse("the features contain values that are not finite: impute them first")
        if values.shape[1] == 0:
            return cls(np.zeros(0), np.zeros((0, 0)))
        mean = values.mean(axis=0)
        centred = values - mean
        variances, directions = np.linalg.eigh(centred.T @ centred / len(values))
        keep = variances > _LEAST * max(float(variances[-1]), 1e-300)
        return cls(mean, directions[:, keep] / np.sqrt(variances[keep]))

    @property
    def columns(self) -> int:
        """The number of whitened columns."""
        return int(self.matrix.shape[1])

    def apply(self, values: Floats) -> Floats:
        """Return the whitened, clipped features, shape (n, k)."""
        return np.clip((values - self.mean) @ self.matrix, -CLIP, CLIP)

    def to_json(self) -> dict[str, Any]:
        """Return plain lists, for a model file."""
        return {"mean": self.mean.tolist(), "matrix": self.matrix.tolist()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Whitening:
        """Read back what `to_json` wrote."""
        mean = np.array(data["mean"], dtype=np.float64)
        return cls(mean, np.array(data["matrix"], dtype=np.float64).reshape(len(mean), -1))


def quantise(values: Floats) -> NDArray[np.int16]:
    """Return features at scale 2**12 as int16; +-8 becomes 32767, one unit below 2**15, so that the type holds it."""
    scaled: Floats = np.clip(np.rint(values * 2**FEATURE_BITS), -32767, 32767)
    return scaled.astype(np.int16)
