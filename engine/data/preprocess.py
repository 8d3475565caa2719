"""Columns to features: missing values filled, numbers standardised, categories one-hot; fitted on the train rows.

    numeric      (x - mean) / deviation, both over the train rows that have a value; missing becomes the mean, so 0
    categorical  one 0/1 feature `column=level` a level of train, sorted; missing and unseen are zeros in all of them

Local to a party: nothing here is sent. A `Fitted` holds the levels it saw, so it belongs to the party's own model part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.nearest import suggestion
from engine.data.table import Column, Table, number_text, objects
from engine.errors import Misuse

_LARGEST = 1e150  # beyond it squares overflow
_EMPTY = "has no value in any train row; exclude it"
_CONSTANT = "has one value only in the train rows, so nothing can be learnt from it; exclude it"


@dataclass(frozen=True, eq=False, repr=False)
class Features:
    """What a model computes with.

    Attributes:
        names: one a feature, unique.
        values: float64 (n, f), finite.
        originals: the column that each feature came from.
        unseen: for each categorical column, how many rows hold a level without a feature, if any.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    originals: tuple[str, ...]
    unseen: Mapping[str, int]


@dataclass(frozen=True)
class Numeric:
    """A numeric column as fitted: a missing value counts as `mean`; the feature is (x - shift) / scale."""

    name: str
    mean: float
    shift: float
    scale: float
    indicator: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The features of this column."""
        return (self.name, f"{self.name}=missing") if self.indicator else (self.name,)

    def fill(self, out: NDArray[np.float64], column: Column) -> int:
        """Write the features of a column to `out` (n, features), which is zero; return 0, no number is unseen."""
        missing = column.missing
        out[:, 0] = (np.where(missing, self.mean, column.values) - self.shift) / self.scale
        if self.indicator:
            out[:, 1] = missing
        return 0


@dataclass(frozen=True)
class Categorical:
    """A categorical column as fitted; the `rare` levels of train share the feature `name=(rare)`."""

    name: str
    levels: tuple[str, ...]
    rare: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The features of this column."""
        return tuple(f"{self.name}={level}" for level in (*self.levels, *(["(rare)"] if self.rare else [])))

    def fill(self, out: NDArray[np.float64], column: Column) -> int:
        """Write the features of a column to `out` (n, features), which is zero; return how many rows are unseen."""
        place = {level: i for i, level in enumerate(self.levels)} | dict.fromkeys(self.rare, len(self.levels))
        codes = np.fromiter((place.get(value, -1) for value in column.values), np.int64, len(column.values))
        (known,) = np.nonzero(codes >= 0)
        out[known, codes[known]] = 1.0
        return len(codes) - len(known) - int(column.missing.sum())


@dataclass(frozen=True, kw_only=True)
class Preprocessor:
    """How columns become features."""

    standardise: bool = True  # numeric features have mean 0 and deviation 1 on train; otherwise they stay as they are
    indicate_missing: bool = False  # a numeric column with missing values in train also gives `name=missing`
    min_frequency: int = 0  # levels on fewer train rows share `name=(rare)`, if that has as many; 0 keeps every level
    max_levels: int = 1000  # more levels than this are taken for free text or identifiers and refused

    def fit(self, table: Table) -> Fitted:
        """Return the transformation fitted on the rows of `table`.

        Raises:
            Misuse: one line for each column without a value, constant, with too many levels or too large numbers.
        """
        fitted: list[Numeric | Categorical] = []
        found: list[str] = []
        for column in table.columns:
            part = self._numeric(column) if column.kind == "numeric" else self._categorical(column)
            if isinstance(part, str):
                found.append(f"column {column.name!r} {part}")
            else:
                fitted.append(part)
        repeated = [
            name for name, count in Counter(name for part in fitted for name in part.names).items() if count > 1
        ]
        found += [f"two features would be called {name!r}; rename a column" for name in repeated]
        if found:
            raise Misuse("\n".join(f"{table.party}, {table.source}: {problem}" for problem in found))
        return Fitted(tuple(fitted))

    def _numeric(self, column: Column) -> Numeric | str:
        missing = column.missing
        values = column.values[~missing]
        if not len(values):
            return _EMPTY
        if values.min() == values.max():
            return _CONSTANT
        if np.abs(values).max() > _LARGEST:
            return f"holds numbers beyond {_LARGEST:g}; rescale or exclude it"
        mean = float(values.mean())
        spread = np.abs(values - mean).max()  # taken out first, so that the squares of tiny numbers do not vanish
        deviation = float(spread * np.sqrt(np.mean(((values - mean) / spread) ** 2)))
        shift, scale = (mean, deviation) if self.standardise else (0.0, 1.0)
        return Numeric(column.name, mean, shift, scale, bool(self.indicate_missing and missing.any()))

    def _categorical(self, column: Column) -> Categorical | str:
        counts = Counter(column.values.tolist())
        blank = counts.pop(None, 0)  # rows that no feature marks
        if not counts:
            return _EMPTY
        levels = sorted(level for level, count in counts.items() if count >= self.min_frequency)
        rare = sorted(counts.keys() - set(levels))
        pooled = sum(counts[level] for level in rare)
        if pooled < self.min_frequency:  # too few rows even together: zeros, like a level that train did not have
            blank, rare = blank + pooled, []
        if len(levels) > self.max_levels:
            return f"has {len(levels)} different texts, more than {self.max_levels}; exclude it or group them"
        if not levels and not (rare and blank):
            return f"has no text on {self.min_frequency} train rows or more; exclude it or group its texts"
        if len(levels) == 1 and not rare and not blank:
            return _CONSTANT
        return Categorical(column.name, tuple(levels), tuple(rare))


@dataclass(frozen=True)
class Fitted:
    """A fitted transformation, plain data."""

    columns: tuple[Numeric | Categorical, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features."""
        return tuple(name for column in self.columns for name in column.names)

    @property
    def originals(self) -> tuple[str, ...]:
        """The column that each feature came from."""
        return tuple(column.name for column in self.columns for _ in column.names)

    def transform(self, table: Table) -> Features:
        """Return the features of a table; columns are found by name, others of the table are ignored.

        Raises:
            Misuse: one line for each column that is not there or holds text where train held numbers.
        """
        there = {column.name: column for column in table.columns}
        found = [problem for fitted in self.columns if (problem := _unfit(fitted, there))]
        if found:
            raise Misuse("\n".join(f"{table.party}, {table.source}: {problem}" for problem in found))
        values = np.zeros((len(table), len(self.names)))
        unseen, start = {}, 0
        for fitted in self.columns:
            kind = "numeric" if isinstance(fitted, Numeric) else "categorical"
            out = values[:, start : start + len(fitted.names)]
            unseen[fitted.name] = fitted.fill(out, _as_kind(there[fitted.name], kind))
            start += len(fitted.names)
        return Features(self.names, values, self.originals, {name: count for name, count in unseen.items() if count})

    def to_json(self) -> dict[str, Any]:
        """Return the transformation as JSON-able data."""
        kinds = {Numeric: "numeric", Categorical: "categorical"}
        return {"version": 1, "columns": [{"kind": kinds[type(each)], **asdict(each)} for each in self.columns]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Fitted:
        """Return what `to_json` described; raises Misuse if the data describe no transformation."""
        try:
            if data["version"] != 1:
                raise Misuse("this preprocessing was written by another version; fit the model again")
            return cls(tuple(_part(entry) for entry in data["columns"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Misuse("these data describe no preprocessing; the model file is damaged") from error


def _part(entry: Mapping[str, Any]) -> Numeric | Categorical:
    if entry["kind"] == "categorical":
        return Categorical(str(entry["name"]), tuple(map(str, entry["levels"])), tuple(map(str, entry["rare"])))
    mean, shift, scale = (float(entry[key]) for key in ("mean", "shift", "scale"))
    if entry["kind"] != "numeric" or not np.isfinite([mean, shift, scale]).all() or scale <= 0:
        raise ValueError("not a fitted column")
    return Numeric(str(entry["name"]), mean, shift, scale, bool(entry["indicator"]))


def _unfit(fitted: Numeric | Categorical, there: Mapping[str, Column]) -> str | None:
    """Say why the columns of a table do not serve for a fitted one, or None."""
    name = fitted.name
    if name not in there:
        return f"it has no column {name!r}, which the model was trained with; {suggestion(name, there)}"
    column = there[name]
    if isinstance(fitted, Numeric) and column.kind == "categorical" and not column.missing.all():
        return f"column {name!r} holds text but held numbers in training; write numbers"
    return None


def _as_kind(column: Column, kind: str) -> Column:
    """Return the column as the kind it had in training: number codes as text, a column without values as either."""
    if column.kind == kind:
        return column
    if kind == "numeric":
        return Column(column.name, "numeric", np.full(len(column.values), np.nan))
    texts = [None if np.isnan(value) else number_text(value) for value in column.values]
    return Column(column.name, "categorical", objects(texts))
