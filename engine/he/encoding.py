"""How vectors and matrices lie in polynomials, so that one product of polynomials is many multiply-adds.

A tile of `height` rows and `width` columns, height * width = SLOTS, is the polynomial with X[i][j] at coefficient
i*width + (width-1-j). The same tile serves both directions, modulo x^SLOTS + 1:

    forward, X w      w_j at coefficient j;
                      coefficient i*width + width-1 of the product is sum_j X[i][j] w_j
    backward, X^T d   d_i at coefficient (height-1-i)*width;
                      coefficient (height-1)*width + (width-1-j) of the product is sum_i X[i][j] d_i

Backward, terms of different rows land in other blocks of `width` coefficients, and what wraps around the end reaches
at most block height-2; block height-1 stays clean. Forward sums run over column tiles, backward sums over row tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse

SLOTS = 8192

Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Layout:
    """The tiles of a matrix of the given size; both sides derive the same one from public sizes (`layout`)."""

    rows: int
    columns: int
    width: int

    @property
    def height(self) -> int:
        return SLOTS // self.width

    @property
    def row_tiles(self) -> int:
        return -(-self.rows // self.height)

    @property
    def column_tiles(self) -> int:
        return -(-self.columns // self.width)

    @property
    def row_places(self) -> NDArray[np.intp]:
        """Where a product holds the results of its tile's rows, shape (height,)."""
        return np.arange(self.height) * self.width + self.width - 1

    @property
    def column_places(self) -> NDArray[np.intp]:
        """Where a product holds the results of its tile's columns, shape (width,)."""
        return SLOTS - 1 - np.arange(self.width)

    def spread_weights(self, weights: Words) -> Words:
        """Turn (2, columns) into the forward polynomials, (2, column_tiles, SLOTS)."""
        out = np.zeros((2, self.column_tiles, SLOTS), dtype=np.uint64)
        out[:, :, : self.width] = _split(weights, self.column_tiles, self.width)
        return out

    def spread_rows(self, values: Words) -> Words:
        """Turn (2, rows) into the backward polynomials, (2, row_tiles, SLOTS)."""
        out = np.zeros((2, self.row_tiles, self.height, self.width), dtype=np.uint64)
        out[:, :, ::-1, 0] = _split(values, self.row_tiles, self.height)
        return out.reshape(2, self.row_tiles, SLOTS)

    def tile(self, matrix: NDArray[np.integer], row_tile: int, column_tile: int) -> NDArray[np.int64]:
        """Return one tile of a matrix (rows, columns) as signed coefficients, shape (SLOTS,)."""
        top, left = row_tile * self.height, column_tile * self.width
        part = matrix[top : top + self.height, left : left + self.width]
        block = np.zeros((self.height, self.width), dtype=np.int64)
        block[: part.shape[0], : part.shape[1]] = part
        return block[:, ::-1].reshape(SLOTS)


def layout(rows: int, columns: int) -> Layout:
    """Choose the power of two that needs the fewest ciphertexts, both directions together, then the fewest products."""
    if rows < 1 or columns < 1:
        raise Misuse("A matrix without rows or columns cannot be multiplied; check what was selected.")
    widths = [1 << bits for bits in range(min(columns - 1, SLOTS - 1).bit_length() + 1)]
    candidates = [Layout(rows, columns, width) for width in widths]
    return min(candidates, key=lambda at: (at.row_tiles + at.column_tiles, at.row_tiles * at.column_tiles))


def _split(values: Words, tiles: int, length: int) -> Words:
    padded = np.zeros((2, tiles * length), dtype=np.uint64)
    padded[:, : values.shape[1]] = values
    return padded.reshape(2, tiles, length)
