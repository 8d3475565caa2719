"""Identifiers of rows, brought to one form on every side and hashed to 16 bytes.

The form is versioned: each key column is text or whole numbers, normalised to NFC, trimmed of white space, and case
folded if the run says so. Then key = SHA-256(len(spec) || spec || len(part) || part ...)[:16], lengths as 4 bytes big
endian, so neither columns nor versions can run into each other. Sides with different rules find out in the first
message, from `Spec.digest`. The hash hides nothing (ids can be guessed); it only gives every id one size.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.psi.matching import in_byte_order

KEY_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The rule by which ids are brought to one form; the same on every side of a run."""

    version: int = 1  # of the rule itself; 1 is the only one so far
    columns: int = 1  # how many columns make up one id
    case: Literal["keep", "fold"] = "keep"  # "fold" makes ids that differ in upper and lower case the same

    def __post_init__(self) -> None:
        if self.version != 1 or self.columns < 1 or self.case not in ("keep", "fold"):
            raise Misuse('a rule for ids has version 1, at least one column, and case "keep" or "fold"')

    def text(self) -> bytes:
        """Return the canonical form that enters every key."""
        return f"synergos id {self.version}; columns {self.columns}; NFC; trim; case {self.case}".encode()

    def digest(self) -> bytes:
        """Return the 32 bytes by which sides compare their rules."""
        return hashlib.sha256(self.text()).digest()


def encode(keys: NDArray[Any] | tuple[NDArray[Any], ...], spec: Spec | None = None) -> NDArray[np.uint8]:
    """Return the 16-byte key of each row, shape (n, 16), dtype uint8, in the order of the rows.

    Args:
        keys: the id column, or a tuple of columns that make up one id; text or whole numbers, shape (n,) each.
        spec: the rule; default version 1, one column per array given, case kept.

    Raises:
        Misuse: an id is missing, empty or no text or whole number, or rows share one. The text gives row numbers
            (the first row is 1), never an id.
    """
    columns = keys if isinstance(keys, tuple) else (keys,)
    spec = spec or Spec(columns=len(columns))
    if len(columns) != spec.columns or len({len(column) for column in columns}) != 1:
        raise Misuse(f"ids are made of {spec.columns} columns of equal length, but {len(columns)} were given")
    parts = [_parts(column.tolist(), spec.case) for column in columns]
    out = _hashed(parts, spec.text())
    require_distinct(out)
    return out


def require_distinct(keys: NDArray[np.uint8], rows: NDArray[np.int64] | None = None) -> None:
    """Raise Misuse, with the first two row numbers, if rows share a key; keys (n, w) uint8, `rows` their numbers."""
    order, same = in_byte_order(keys)
    if not same.any():
        return
    pairs = np.sort(np.stack([order[:-1][same], order[1:][same]]), axis=0)
    at = pairs[:, np.argmin(pairs[1])]
    first, again = (at if rows is None else rows[at]) + 1
    raise Misuse(
        f"{int(same.sum()):,} rows repeat the id of another row, first rows {first:,} and {again:,} (the first row is "
        "1): keep one row for each id, or name the further columns that tell them apart"
    )


def _parts(values: Sequence[Any], case: str) -> list[bytes]:
    """Return each value as its UTF-8 bytes in normal form."""
    form = _fold if case == "fold" else _keep
    raws = _plain(values, case) or [_bytes(value, form, row) for row, value in enumerate(values, start=1)]
    if b"" in raws:
        raise Misuse(f"row {raws.index(b'') + 1:,} (the first row is 1) has an empty id: remove the row or fill it in")
    return raws


def _plain(values: Sequence[Any], case: str) -> list[bytes] | None:
    """Return what `_bytes` would, in half the time, where all values are ASCII text or all are whole numbers."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return [b"%d" % value for value in values]
    if kinds != {str} or not all(map(str.isascii, values)):
        return None
    return [text.encode() for text in map(str.strip, map(str.lower, values) if case == "fold" else values)]


def _bytes(value: Any, form: Callable[[str], str], row: int) -> bytes:
    if isinstance(value, str):
        try:
            return form(value).strip().encode()
        except UnicodeEncodeError:
            raise Misuse(f"row {row:,} (the first row is 1) has an id that is not valid Unicode") from None
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(int(value)).encode()
    raise Misuse(
        f"row {row:,} (the first row is 1) has an id that is missing, or is neither text nor a whole number: remove "
        "the row, or read the column as text"
    )


def _keep(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _fold(text: str) -> str:
    """Unicode 3.13, D145: folding happens on decomposed text, or a few characters would end up in two forms."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def _hashed(columns: list[list[bytes]], spec: bytes) -> NDArray[np.uint8]:
    first, *others = columns
    rows = first if not others else [b"".join(row) for row in zip(first, *map(_framed, others), strict=True)]
    sizes = list(map(len, first))
    prefix = len(spec).to_bytes(4, "big") + spec
    begun = {size: hashlib.sha256(prefix + size.to_bytes(4, "big")).copy for size in set(sizes)}
    digests = []
    for size, row in zip(sizes, rows, strict=True):  # the loop that every row passes: half a microsecond
        digest = begun[size]()
        digest.update(row)
        digests.append(digest.digest())
    whole = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, hashlib.sha256().digest_size)
    return np.ascontiguousarray(whole[:, :KEY_BYTES])


def _framed(raws: list[bytes]) -> list[bytes]:
    lengths = {size: size.to_bytes(4, "big") for size in set(map(len, raws))}
    return [lengths[len(raw)] + raw for raw in raws]
