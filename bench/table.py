"""`python -m bench.table`: write the newest report of each suite in `bench/results` into `bench/README.md`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"
BEGIN, END = "<!-- results, by python -m bench.table -->\n", "<!-- end of results -->\n"


def newest(folder: Path) -> list[dict[str, Any]]:
    """Return the last report of each suite, by the date in `<date>-<suite>.json`."""
    files = {path.stem.split("-")[-1]: path for path in sorted(folder.glob("*.json"))}
    return [json.loads(files[suite].read_text()) for suite in sorted(files)]


def tables(reports: Iterable[Mapping[str, Any]]) -> str:
    """Return Markdown: a table for each report, a line for each case and size, all peers of a case in one cell."""
    parts = []
    for report in reports:
        lines = [f"**{report['suite']}** ({_circumstances(report)})\n"]
        lines += [
            "| case | size | ours | peers (ratio) | plain |",
            "|---|---|---|---|---|",
        ]
        lines += [_line(list(rows)) for _, rows in groupby(report["rows"], lambda row: (row["case"], row["size"]))]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def written(text: str, reports: Iterable[Mapping[str, Any]]) -> str:
    """Return the text of a README with its tables replaced."""
    head, _, rest = text.partition(BEGIN)
    return head + BEGIN + tables(reports) + END + rest.partition(END)[2]


def _circumstances(report: Mapping[str, Any]) -> str:
    day, cores = report["date"][:10], f"{report['cores']} cores"
    return f"{day}, {report['commit']}, {report['machine']}, {cores}, load {report['load']}"


def _line(rows: list[Mapping[str, Any]]) -> str:
    first = rows[0]
    cells = (first["case"], first["size"], f"{first['ours']:g} {first['unit']}")
    plain = "" if first["plain"] is None else f"{first['plain']:g}"
    return f"| {' | '.join(cells)} | {'<br>'.join(map(_peer, rows))} | {plain} |"


def _peer(row: Mapping[str, Any]) -> str:
    if row["peer_value"] is None:
        return row["peer"] or ""
    ratio = f"{row['ratio']:,.0f}" if row["ratio"] >= 100 else f"{row['ratio']:.3g}"
    return f"{row['peer']}: {row['peer_value']:g} ({ratio})"


if __name__ == "__main__":
    README.write_text(written(README.read_text(), newest(HERE / "results")))
    sys.exit(0)
