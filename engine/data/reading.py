"""From a file or a data frame to a checked `Table`: kinds of columns, missing values, and all complaints at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.data.files import MISSING, file_name, load_frame, require_distinct
from engine.data.nearest import suggestion
from engine.data.table import Column, Table, absent, number_text, objects
from engine.errors import Misuse

if TYPE_CHECKING:
    import pandas as pd

# Kinds as pandas.api.types.infer_dtype names them; dates, lists and mixtures are in neither set.
_NUMBERS = {"integer", "floating", "mixed-integer-float", "decimal"}
_TEXTS = {"string", "boolean", "categorical", "empty"}


def read_table(
    source: str | pd.DataFrame,
    *,
    party: str,
    id: str | Sequence[str],
    label: str | None = None,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    categorical: Sequence[str] = (),
    training: bool = True,
) -> Table:
    """Read one party's rows from a CSV or Parquet file, any fsspec URL, or a data frame.

    Text and booleans become categorical columns, numbers numeric ones; text that reads as a number in every row is
    numeric. Outer blanks of categories are dropped, those of identifiers kept.

    Args:
        id: the identifier column, or several that identify a row together.
        columns: the features, all other columns if None; `exclude` drops some.
        categorical: columns of numeric codes that are categories.
        training: a table to train on; others may have columns without any value.

    Raises:
        Misuse: one line for everything that is wrong, each naming party, file and column, and what to do.
    """
    keys = (id,) if isinstance(id, str) else tuple(id)
    request = _Request(keys, label, columns, tuple(exclude), tuple(categorical), training)
    name = file_name(source) if isinstance(source, str) else "data frame"
    found: list[str] = []
    with _noting(found):
        frame = load_frame(source, [*keys, *categorical]) if isinstance(source, str) else _named(source, keys)
        found += request.wrong_names(list(frame.columns))
        table = _table(party, name, frame, request, found)
    if found:
        raise Misuse("\n".join(f"{party}, {name}: {problem}" for problem in found))
    return table


def problems(source: str | pd.DataFrame, **options: Any) -> list[str]:
    """Return everything that `read_table` with the same arguments complains about, a sentence each."""
    try:
        read_table(source, **options)
    except Misuse as error:
        return str(error).splitlines()
    return []


@dataclass(frozen=True)
class _Request:
    """Which columns of a file are wanted, and as what."""

    keys: tuple[str, ...]
    label: str | None
    columns: Sequence[str] | None
    exclude: tuple[str, ...]
    categorical: tuple[str, ...]
    training: bool

    @property
    def reserved(self) -> set[str]:
        return {*self.keys, *([] if self.label is None else [self.label])}

    def features(self, names: Sequence[str]) -> list[str]:
        chosen = names if self.columns is None else self.columns
        return [name for name in names if name in chosen and name not in self.exclude and name not in self.reserved]

    def wrong_names(self, names: Sequence[str]) -> list[str]:
        """Return a sentence for each column that is asked for and not there, or there for something else."""
        found = []
        for name, purpose in [*((key, "id") for key in self.keys), *([(self.label, "label")] if self.label else [])]:
            if name not in names:
                found.append(f"it has no column {name!r} for the {purpose}; {suggestion(name, names)}")
        if self.label in self.keys:
            found.append(f"column {self.label!r} is both id and label; name two columns")
        free = [name for name in names if name not in self.reserved]
        listed = {"columns": self.columns or (), "exclude": self.exclude, "categorical": self.categorical}
        for place, name in ((place, name) for place, chosen in listed.items() for name in chosen):
            if name in self.reserved:
                found.append(f"column {name!r} is the id or the label; take it out of `{place}`")
            elif name not in names:
                found.append(f"it has no column {name!r}, which `{place}` names; {suggestion(name, free)}")
        return found


@contextmanager
def _noting(found: list[str]) -> Iterator[None]:
    """Note a Misuse as a problem and go on after the block."""
    try:
        yield
    except Misuse as error:
        found.append(str(error))


def _named(frame: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Bring identifiers that a data frame holds as its index among the columns; name all columns by text."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise Misuse("the data are neither a path nor a pandas data frame; give one of these")
    if any(name in keys for name in frame.index.names):
        frame = frame.reset_index()
    frame = frame.rename(columns=str)
    require_distinct(list(frame.columns))
    return frame


def _table(party: str, name: str, frame: pd.DataFrame, request: _Request, found: list[str]) -> Table:
    """Return the table; where `found` gained a problem, without the part that is wrong."""
    if not len(frame):
        raise Misuse("it has no rows; give at least one below the column names")
    features = request.features(list(frame.columns))
    if not features and request.label is None:
        found.append("it has neither a label nor a column to learn from; name columns, or exclude fewer")
    keys, columns, label = list[NDArray[np.object_]](), list[Column](), None
    for key in request.keys:
        with _noting(found):
            if key in frame:
                keys.append(_key(frame[key], key))
    with _noting(found):
        if len(keys) == len(request.keys):
            _require_unique(keys, request.keys)
    for feature in features:
        with _noting(found):
            columns.append(_column(frame[feature], feature, feature in request.categorical, request.training))
    with _noting(found):
        if request.label is not None and request.label in frame:
            label = _label(frame[request.label], request.label)
    return Table(party, name, request.keys, tuple(keys), tuple(columns), request.label, label)


def _key(series: pd.Series[Any], name: str) -> NDArray[np.object_]:
    texts, codes = _texts(series)
    blank = np.fromiter((text is None or text.strip() in MISSING for text in texts), np.bool_, len(texts))[codes]
    if blank.any():
        raise Misuse(f"column {name!r}, the id, is missing in {_rows(blank)}; remove them or give them ids")
    return texts[codes]


def _require_unique(keys: Sequence[NDArray[np.object_]], names: Sequence[str]) -> None:
    import pandas as pd

    frame = pd.DataFrame(dict(enumerate(keys)), dtype=object)
    repeated = frame.duplicated().to_numpy()
    if repeated.any():
        same = (frame == frame.iloc[int(repeated.argmax())]).all(axis=1).to_numpy()
        first, second = np.flatnonzero(same)[:2] + 1
        where = " and ".join(f"{name!r}" for name in names)
        count = f"{repeated.sum()} rows repeat" if repeated.sum() > 1 else "1 row repeats"
        what = f"the id in {where} is not unique: {count} an earlier one, first rows {first} and {second}"
        raise Misuse(f"{what}; keep one row for each id")


def _column(series: pd.Series[Any], name: str, forced: bool, training: bool) -> Column:
    import pandas as pd

    inferred = pd.api.types.infer_dtype(series, skipna=True)
    if inferred not in _NUMBERS | _TEXTS:
        raise Misuse(f"column {name!r} holds {inferred} values; turn them into numbers or text, or exclude it")
    if inferred in _NUMBERS and not forced:
        column = Column(name, "numeric", series.to_numpy(dtype=np.float64, na_value=np.nan))
    else:
        texts, codes = _texts(series, strip=True)
        numbers = _as_numbers(texts) if inferred in {"string", "empty"} and not forced else None
        column = Column(name, "categorical", texts[codes])
        if numbers is not None:
            column = Column(name, "numeric", numbers[codes])
    if training and column.missing.all():
        raise Misuse(f"column {name!r} has no value in any row; exclude it")
    if column.kind == "numeric" and (infinite := np.isinf(column.values)).any():
        raise Misuse(f"column {name!r} is infinite in {_rows(infinite)}; write finite numbers or leave them empty")
    return column


def _label(series: pd.Series[Any], name: str) -> NDArray[np.float64]:
    import pandas as pd

    if pd.api.types.infer_dtype(series, skipna=True) == "boolean":
        series = pd.Series(series.to_numpy(dtype=np.float64, na_value=np.nan))
    column = _column(series, name, forced=False, training=True)
    if column.kind == "categorical":
        raise Misuse(f"column {name!r}, the label, holds text; write numbers, for a classifier 0 and 1")
    if column.missing.any():
        raise Misuse(f"column {name!r}, the label, is missing in {_rows(column.missing)}; remove or complete them")
    values: NDArray[np.float64] = column.values
    return values


def _texts(series: pd.Series[Any], strip: bool = False) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Return the distinct values as text, then None, and where in them each row's is; so a category costs little."""
    import pandas as pd

    codes, distinct = pd.factorize(series.astype(object), use_na_sentinel=True)
    return objects([*(_text(value, strip) for value in distinct), None]), codes  # code -1, missing, is the last


def _text(value: object, strip: bool) -> str | None:
    if not isinstance(value, str):
        return number_text(value) if isinstance(value, float) else str(value)
    text = value.strip() if strip else value
    if text in MISSING:
        return None
    # Where values are missing, many programs write integer codes as "3.0"; as a category that is "3".
    return text[:-2] if strip and text.endswith(".0") and text[:-2].lstrip("-").isdigit() else text


def _as_numbers(texts: NDArray[np.object_]) -> NDArray[np.float64] | None:
    """Return texts as float64 with NaN for None if every other one reads as a number, else None."""
    import pandas as pd

    numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return None if (np.isnan(numbers) & ~absent(texts)).any() else numbers


def _rows(mask: NDArray[np.bool_]) -> str:
    """Say how many rows a mask marks and which is the first, counted from 1 below the column names."""
    count, first = int(mask.sum()), int(mask.argmax()) + 1
    return f"row {first}" if count == 1 else f"{count} rows (first: row {first})"
