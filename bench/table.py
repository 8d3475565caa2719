"""`python -m bench.table`: write the newest reports in `bench/results` into `bench/README.md`, and their figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from bench import figures

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
            "| case | size | ours | peers (ratio) | plain | limit |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_line(list(rows)) for _, rows in groupby(report["rows"], lambda row: (row["case"], row["size"]))]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def written(text: str, reports: Iterable[Mapping[str, Any]]) -> str:
    """Return the text of a README with its tables replaced."""
    head, _, rest = text.partition(BEGIN)
    return head + BEGIN + tables(reports) + END + rest.partition(END)[2]


def drawn(reports: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the figures by their names in `results`: ratios of each suite with peers, seconds of matching by rows."""
    pictures = {}
    for report in reports:
        suite, where = report["suite"], f"{report['machine']}, {report['date'][:10]}"
        rows = [row for row in report["rows"] if not row["case"].endswith("reference")]
        if suite in ("kernels", "he", "psi"):
            title = f"{suite}: what the others cost, divided by what ours costs ({where})"
            pictures[f"{suite}.svg"] = figures.ratios(title, rows)
        if suite == "psi":
            title = f"Matching two sets: seconds of CPU, both parties ({where})"
            pictures["psi-time.svg"] = figures.curves(title, "ecdh", rows)
    return pictures


def _circumstances(report: Mapping[str, Any]) -> str:
    day, cores = report["date"][:10], f"{report['cores']} cores"
    return f"{day}, {report['commit']}, {report['machine']}, {cores}, load {report['load']}"


def _line(rows: list[Mapping[str, Any]]) -> str:
    first = rows[0]
    cells = (first["case"], first["size"], f"{first['ours']:g} {first['unit']}")
    ends = ("" if first.get(key) is None else f"{first[key]:g}" for key in ("plain", "limit"))
    return f"| {' | '.join(cells)} | {'<br>'.join(map(_peer, rows))} | {' | '.join(ends)} |"


def _peer(row: Mapping[str, Any]) -> str:
    if row["peer_value"] is None:
        return row["peer"] or ""
    ratio = f"{row['ratio']:,.0f}" if row["ratio"] >= 100 else f"{row['ratio']:.3g}"
    return f"{row['peer']}: {row['peer_value']:g} ({ratio})"


if __name__ == "__main__":
    found = newest(HERE / "results")
    README.write_text(written(README.read_text(), found))
    for name, picture in drawn(found).items():
        (HERE / "results" / name).write_text(picture)
    sys.exit(0)
