"""Figures of reports, as SVG: how many times dearer each peer is, and what matching costs as sets grow.

Both axes of amounts are logarithmic. What is drawn follows from the rows alone, so that a figure never disagrees with
the table beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

Rows = Sequence[Mapping[str, Any]]

INK, GRID, DEARER, CHEAPER = "#222", "#ddd", "#37c", "#c63"
PALETTE = ("#0b6", "#37c", "#c63", "#93c", "#888")
WIDTH, LABELS, STEP, TOP, BOTTOM = 960, 430, 19, 46, 30


def ratios(title: str, rows: Rows) -> str:
    """Return bars, one for each case and peer: the peer's cost divided by ours. To the right of 1 ours is cheaper."""
    shown = [row for row in rows if row["ratio"]]
    low = math.floor(min(0.0, *(math.log10(row["ratio"]) for row in shown)))
    high = math.ceil(max(1.0, *(math.log10(row["ratio"]) for row in shown)))
    left, right = LABELS, WIDTH - 70

    def at(ratio: float) -> float:
        return left + (math.log10(ratio) - low) / (high - low) * (right - left)

    height = TOP + STEP * len(shown) + BOTTOM
    parts = [_text(12, 22, title, size=15)]
    for power in range(low, high + 1):
        x = at(10.0**power)
        parts.append(_line(x, TOP - 6, x, height - BOTTOM, INK if power == 0 else GRID))
        parts.append(_text(x, height - 12, f"{10.0**power:,g}x", anchor="middle"))
    for i, row in enumerate(shown):
        y, x = TOP + STEP * i, at(row["ratio"])
        start, end = sorted((at(1.0), x))
        colour = DEARER if row["ratio"] >= 1 else CHEAPER
        parts.append(_text(left - 8, y + 12, f"{row['case']}, {row['size']}: {row['peer']}", anchor="end", size=10))
        parts.append(
            f'<rect x="{start:.1f}" y="{y + 2}" width="{end - start:.1f}" height="{STEP - 5}" fill="{colour}"/>'
        )
        parts.append(_text(max(x, at(1.0)) + 4, y + 12, f"{row['ratio']:,.3g}", size=10))
    return _picture(height, parts)


def curves(title: str, case: str, rows: Rows) -> str:
    """Return lines over the number of rows, ours and each peer's: `<rows> x 2` as size, microseconds a row as value."""
    lines = _lines([row for row in rows if row["case"] == case])
    points = [point for line in lines.values() for point in line]
    xs, ys = ([math.log10(point[i]) for point in points] for i in (0, 1))
    x0, x1, y0, y1 = math.floor(min(xs)), math.ceil(max(xs)), math.floor(min(ys)), math.ceil(max(ys))
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    left, right, height = 80, WIDTH - 250, 420

    def at(point: tuple[float, float]) -> tuple[float, float]:
        x = left + (math.log10(point[0]) - x0) / (x1 - x0) * (right - left)
        return x, height - 50 - (math.log10(point[1]) - y0) / (y1 - y0) * (height - 50 - TOP)

    parts = [_text(12, 22, title, size=15)]
    for power in range(x0, x1 + 1):
        x, bottom = at((10.0**power, 10.0**y0))
        parts += [_line(x, TOP, x, bottom, GRID), _text(x, bottom + 16, f"{10**power:,}", anchor="middle")]
    for power in range(y0, y1 + 1):
        x, y = at((10.0**x0, 10.0**power))
        parts += [_line(x, y, right, y, GRID), _text(x - 6, y + 4, f"{10.0**power:,g} s", anchor="end")]
    parts.append(_text((left + right) / 2, height - 12, "rows of each party", anchor="middle"))
    for colour, (name, line) in zip(PALETTE, lines.items(), strict=False):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(at, line))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in map(at, line)]
        x, y = at(line[-1])
        parts.append(_text(right + 8, y + 4, name, colour=colour, size=11))
    return _picture(height, parts)


def _lines(rows: Rows) -> dict[str, list[tuple[float, float]]]:
    """Return (rows, seconds) for ours and each peer that has figures, by rows."""
    found: dict[str, dict[float, float]] = {}
    for row in rows:
        size = float(row["size"].split(" x ")[0].replace(",", ""))
        found.setdefault("ours", {})[size] = row["ours"] * size / 1e6
        if row["peer_value"]:
            found.setdefault(row["peer"], {})[size] = row["peer_value"] * size / 1e6
    return {name: sorted(line.items()) for name, line in found.items()}


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 11, colour: str = INK) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
    return f"<text {place}>{escape(text)}</text>"


def _line(x0: float, y0: float, x1: float, y1: float, colour: str) -> str:
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}"/>'


def _picture(height: float, parts: Iterable[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">'
    return "\n".join((head, f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *parts, "</svg>")) + "\n"
