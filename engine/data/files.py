"""Files and URLs to data frames: CSV (also compressed) and Parquet, from anything that fsspec opens.

Every failure is a `Misuse` whose sentence has neither a value of the file nor a secret of its URL.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from engine.errors import Misuse

if TYPE_CHECKING:
    import pandas as pd

MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "<NA>")
"""Texts that stand for "no value". "None" and "unknown" are not among them: data sets use them as categories."""

_COMPRESSED = {".gz", ".bz2", ".xz", ".zip", ".zst"}


def file_name(source: str) -> str:
    """Return the last part of a path or URL, for messages: no folders, no user names, no tokens."""
    return PurePosixPath(source.split("?")[0]).name or source


def require_distinct(names: Sequence[str]) -> None:
    """Raise Misuse if two columns have one name."""
    if repeated := sorted(name for name, count in Counter(names).items() if count > 1):
        raise Misuse(f"more than one column is called {', '.join(map(repr, repeated))}; rename them")


def load_frame(source: str, as_text: Sequence[str]) -> pd.DataFrame:
    """Read a table; columns in `as_text` come as text exactly as the file has it, where the format keeps text.

    Raises:
        Misuse: missing, unreadable, of another format, or not a table.
    """
    import fsspec
    import pandas as pd

    read = _reader(source)
    try:
        with fsspec.open(source, "rb", compression="infer") as file:
            return read(file, as_text)
    except Misuse:
        raise
    except FileNotFoundError as error:
        raise Misuse(f"there is no file at {_place(source)}; correct the path") from error
    except PermissionError as error:
        raise Misuse("the file may not be read by this user; change its permissions") from error
    except ImportError as error:
        raise Misuse(f"reading from this address needs one more package: {error}") from error
    except pd.errors.EmptyDataError as error:
        raise Misuse("the file is empty; it needs a line of column names, then rows") from error
    except UnicodeDecodeError as error:
        raise Misuse("the file is not UTF-8 text; save it as UTF-8") from error
    except pd.errors.ParserError as error:
        fields = re.search(r"Expected \d+ fields in line \d+, saw \d+", str(error))
        detail = f" ({fields[0]})" if fields else ""
        raise Misuse(f"the file is not a regular table{detail}; give every line as many fields as the first") from error
    except Exception as error:  # each file system and decompressor has its own errors, and their texts may hold URLs
        what = f"the file cannot be read ({type(error).__name__})"
        raise Misuse(f"{what}; check that it is whole and that its name ends in its format") from error


def _place(source: str) -> str:
    """Return where the file was looked for, without user name, password and query."""
    url = urlsplit(source)
    return f"{url.scheme}://{url.hostname}{url.path}" if "://" in source else source


def _reader(source: str) -> Callable[[IO[bytes], Sequence[str]], pd.DataFrame]:
    suffixes = [suffix.lower() for suffix in PurePosixPath(file_name(source)).suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    match suffixes[-1:]:
        case [".csv"]:
            return partial(_read_csv, separator=",")
        case [".tsv"]:
            return partial(_read_csv, separator="\t")
        case [".parquet"] | [".pq"]:
            return _read_parquet
    raise Misuse("the format is not known from the file's name; end it in .csv, .csv.gz, .tsv or .parquet")


def _read_csv(file: IO[bytes], as_text: Sequence[str], separator: str) -> pd.DataFrame:
    import pandas as pd

    # The header and one row are looked at first, because pandas says nothing when it renames a repeated column, or when
    # it takes the first fields for an index since rows are longer than the header; as plain rows, that is an error.
    head = pd.read_csv(file, sep=separator, header=None, nrows=2, dtype=str, keep_default_na=False)
    names = [str(name) for name in head.iloc[0]]
    require_distinct(names)
    if len(names) == 1 and (other := next((mark for mark in ";\t|" if mark in names[0]), None)):
        raise Misuse(f"it looks separated by {other!r}; separate the fields by {separator!r}")
    file.seek(0)
    return pd.read_csv(
        file,
        sep=separator,
        dtype={name: str for name in names if name in as_text},
        na_values=list(MISSING),
        keep_default_na=False,
        low_memory=False,
    )


def _read_parquet(file: IO[bytes], _: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(file, engine="pyarrow")
