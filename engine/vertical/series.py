"""Functions of a shared score as trigonometric series: the only non-linear step that secret shares allow for nothing.

With z = z_A + z_H, the angle sum formulas split cos(2 pi k z / T) and sin(2 pi k z / T) into products of a term that A
knows and a term that H knows. So a series needs one multiplication round, is bounded everywhere and cannot diverge as a
polynomial does. Its price is its period: scores must stay within T/2, which `reach` watches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Series:
    """f(z) = constant + sum_k sines[k-1] sin(2 pi k z / period) + cosines[k-1] cos(2 pi k z / period), k = 1..K."""

    period: int
    constant: float
    sines: Floats
    cosines: Floats

    def __call__(self, z: Floats) -> Floats:
        """Return f(z), any shape."""
        sin, cos = self.waves(z)
        result: Floats = self.constant + np.tensordot(self.sines, sin, 1) + np.tensordot(self.cosines, cos, 1)
        return result

    def waves(self, z: Floats) -> tuple[Floats, Floats]:
        """Return the sines and cosines of all harmonics, each of shape (K, *z.shape)."""
        angles = np.multiply.outer(2 * np.pi / self.period * np.arange(1, len(self.sines) + 1), z)
        return np.sin(angles), np.cos(angles)

    def factors(self, z: Floats) -> tuple[Floats, Floats]:
        """Return H's factors of A's sines and of A's cosines, shape (K, n), such that the products sum to f - constant.

        a sin(x+y) + b cos(x+y) = sin x (a cos y - b sin y) + cos x (a sin y + b cos y).
        """
        sin, cos = self.waves(z)
        a, b = self.sines[:, None], self.cosines[:, None]
        return a * cos - b * sin, a * sin + b * cos


def _fit(values: Floats, grid: Floats, period: int, basis: str, terms: int) -> tuple[float, Floats]:
    """Least squares with ridge 1e-9 of a constant and `terms` harmonics of one basis on the grid."""
    angles = np.multiply.outer(grid, 2 * np.pi / period * np.arange(1, terms + 1))
    waves = np.sin(angles) if basis == "sin" else np.column_stack([np.ones_like(grid), np.cos(angles)])
    ridge = 1e-9 * np.eye(waves.shape[1])
    solution: Floats = np.linalg.solve(waves.T @ waves / len(grid) + ridge, waves.T @ values / len(grid))
    return (0.0, solution) if basis == "sin" else (float(solution[0]), solution[1:])


@lru_cache(maxsize=1)
def sigmoid() -> Series:
    """1 / (1 + exp(-z)) within 1.2e-2 (rms 5.6e-3) on [-10, 10]; period 32, 5 sines."""
    grid = np.linspace(-10, 10, 4001)
    _, sines = _fit(1 / (1 + np.exp(-grid)) - 0.5, grid, 32, "sin", 5)
    return Series(32, 0.5, sines, np.zeros(5))


@lru_cache(maxsize=1)
def softplus_even() -> Series:
    """log(2 cosh(z/2)) = log(1 + exp(z)) - z/2 within 8e-3 on [-10, 10]; period 32, 5 cosines."""
    grid = np.linspace(-10, 10, 4001)
    constant, cosines = _fit(np.logaddexp(0, grid) - grid / 2, grid, 32, "cos", 5)
    return Series(32, constant, np.zeros(5), cosines)


@lru_cache(maxsize=1)
def reach() -> Series:
    """sin(pi z / 64)**16, exactly: 2e-7 at |z| = 8, 7e-4 at 14, 4e-3 at 16: a sum over rows tells the largest.

    Its period is twice that of the other series, so it still sees a score that has left their half period.
    """
    terms = [2 * (-1) ** k * comb(16, 8 - k) / 4**8 for k in range(1, 9)]
    return Series(64, comb(16, 8) / 4**8, np.zeros(8), np.array(terms))


# A single row with a score of 14 reaches this sum; training stops before it (half the period of the link is 16).
REACH_LIMIT = float(np.sin(np.pi * 14 / 64) ** 16)
