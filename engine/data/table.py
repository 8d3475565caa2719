"""One party's rows: identifiers as text, typed columns, perhaps a label.

A `Table` knows nothing of other parties. Its texts and its `repr` show names, kinds and counts, never a value.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse

Kind = Literal["numeric", "categorical"]


@dataclass(frozen=True, repr=False, eq=False)
class Column:
    """One feature: float64 (n,) with NaN for missing, or an object array (n,) of str with None for missing."""

    name: str
    kind: Kind
    values: NDArray[Any]

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Where there is no value, shape (n,)."""
        return absent(self.values) if self.kind == "categorical" else np.asarray(np.isnan(self.values), np.bool_)

    def __repr__(self) -> str:
        return f"Column({self.name!r}, {self.kind}, {len(self.values)} rows)"


@dataclass(frozen=True, repr=False, eq=False)
class Table:
    """What one party brings to a run.

    Attributes:
        source: file name, for messages.
        keys: the identifier columns, each an object array (n,) of str, as found in the file; unique together.
        label: float64 (n,) without NaN, or None.
    """

    party: str
    source: str
    key_names: tuple[str, ...]
    keys: tuple[NDArray[np.object_], ...]
    columns: tuple[Column, ...]
    label_name: str | None = None
    label: NDArray[np.float64] | None = None

    @property
    def ids(self) -> NDArray[np.object_]:
        """One text a row: the key, or several keys joined by the unit separator; object (n,)."""
        if len(self.keys) == 1:
            return self.keys[0]
        return objects(["\x1f".join(parts) for parts in zip(*self.keys, strict=True)])

    @property
    def column_names(self) -> tuple[str, ...]:
        """The feature columns' names, in the file's order."""
        return tuple(column.name for column in self.columns)

    def take(self, rows: NDArray[np.integer[Any] | np.bool_]) -> Table:
        """Return these rows, in this order: positions, or a mask of shape (n,)."""
        return replace(
            self,
            keys=tuple(key[rows] for key in self.keys),
            columns=tuple(replace(column, values=column.values[rows]) for column in self.columns),
            label=None if self.label is None else self.label[rows],
        )

    def split(self, fraction: float, seed: int) -> tuple[Table, Table]:
        """Return (train, evaluate); a row's place depends on its id and the seed alone, so all parties agree.

        A row is for evaluation iff the first 64 bits of SHA-256("synergos-split-1:<seed>:" + id), as a number, are
        below fraction * 2**64. Ids are taken in NFC without outer blanks, as when rows are matched, and several keys
        joined by the unit separator.

        Raises:
            Misuse: fraction outside (0, 1), or no row left on one side.
        """
        if not 0 < fraction < 1:
            raise Misuse("the fraction of rows for evaluation lies between 0 and 1, both excluded")
        start = hashlib.sha256(f"synergos-split-1:{seed}:".encode())
        bound = int(fraction * 2.0**64)
        rows = zip(*self.keys, strict=True)
        held_out = np.fromiter((_place(start.copy(), parts) < bound for parts in rows), np.bool_, len(self))
        if held_out.all() or not held_out.any():
            side = "train on" if held_out.all() else "evaluate on"
            what = f"{self.party}, {self.source}: the split of {len(self)} rows leaves none to {side}"
            raise Misuse(f"{what}; change the fraction or the seed, or give more rows")
        return self.take(~held_out), self.take(held_out)

    def schema(self) -> dict[str, Any]:
        """Return names, kinds and counts, JSON-able, without a value."""
        return {
            "party": self.party,
            "source": self.source,
            "rows": len(self),
            "id": list(self.key_names),
            "label": self.label_name,
            "columns": [{"name": c.name, "kind": c.kind, "missing": int(c.missing.sum())} for c in self.columns],
        }

    def __len__(self) -> int:
        return len(self.keys[0])

    def __repr__(self) -> str:
        label = f", label {self.label_name!r}" if self.label_name else ""
        return f"Table({self.party}, {self.source}: {len(self)} rows, {len(self.columns)} columns{label})"


def require_binary_label(table: Table) -> None:
    """Raise Misuse unless the label consists of zeros and ones, both present."""
    where = f"{table.party}, {table.source}"
    if table.label is None:
        raise Misuse(f"{where}: this party has no label; name its column")
    values = np.unique(table.label)
    if not np.isin(values, (0.0, 1.0)).all():
        what = f"label '{table.label_name}' has {len(values)} different values"
        raise Misuse(f"{where}: {what}; a classifier needs 0 and 1, so write it so or choose a regression")
    if len(values) < 2:
        what = f"label '{table.label_name}' has one class only"
        raise Misuse(f"{where}: {what}; a classifier needs rows of both classes")


def number_text(value: float) -> str:
    """Return a number as a category's name: 3.0 is "3", so that files with and without missing values agree."""
    return str(int(value)) if float(value).is_integer() else str(value)


def absent(texts: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Return where an object array (n,) holds None."""
    return np.asarray(np.equal(texts, np.array(None, dtype=object)), np.bool_)


def objects(values: Sequence[Any]) -> NDArray[np.object_]:
    """Return an object array (n,) of the values, whatever they are."""
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def _place(digest: hashlib._Hash, parts: tuple[str, ...]) -> int:
    digest.update("\x1f".join(unicodedata.normalize("NFC", part).strip() for part in parts).encode())
    return int.from_bytes(digest.digest()[:8], "big")
