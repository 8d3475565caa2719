"""`python -m bench SUITE [--quick] [--json OUT]`: rows as a table on a terminal, as JSON lines elsewhere."""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.contest import QUICK_ROUNDS, ROUNDS, Contest, Row
from bench.peers import ROOT

SUITES = ("kernels", "he", "psi", "vertical", "transport")
LATER = ("horizontal",)
PACKAGES = ("synergos", "numpy", "numba", "scikit-learn", "pandas", "tenseal", "cryptography", "grpcio")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one suite; return 0, or 2 for a suite that there is not."""
    options = _parser().parse_args(arguments)
    if complaint := _complaint(options.suite):
        print(complaint, file=sys.stderr)
        return 2
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # idle threads spin, and would count
    from engine.kernels import tiers

    print("compiling the kernels that are not in the cache", file=sys.stderr, flush=True)
    tiers.warmup()
    table = sys.stdout.isatty()
    rows: list[Row] = []
    for contest in _contests(options.suite, options.quick):
        print(f"{contest.suite}: {contest.size}", file=sys.stderr, flush=True)
        found = contest.run(QUICK_ROUNDS if options.quick else ROUNDS)
        rows += found
        if not table:
            print("\n".join(json.dumps(asdict(row)) for row in found), flush=True)
    if table:
        _show(rows)
    if options.json:
        report = {**_circumstances(options), "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What cryptography costs, ours and others'.")
    parser.add_argument("suite", help=", ".join(SUITES))
    parser.add_argument("--quick", action="store_true", help="small sizes and fewer rounds, under three minutes")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the rows, with the machine, to this file")
    return parser


def _complaint(suite: str) -> str | None:
    if suite in SUITES:
        return None
    what = "is not part of this release" if suite in LATER else "is no suite"
    return f"{suite} {what}: use one of {', '.join(SUITES)}"


def _contests(suite: str, quick: bool) -> list[Contest]:
    contests: list[Contest] = importlib.import_module(f"bench.{suite}").contests(quick)
    return contests


def _circumstances(options: argparse.Namespace) -> dict[str, Any]:
    """Return what one must know to read the figures; nothing that names the host or a path."""
    from engine.kernels import tiers

    return {
        "suite": options.suite,
        "quick": options.quick,
        "machine": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),  # over the last minute, the benchmark's own included
        "kernels": tiers.tier(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str | None:
    """Return the checkout's commit, or None where this is no checkout or git is not there."""
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--match", ""], cwd=ROOT, capture_output=True, text=True
        )
    except FileNotFoundError:
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None


def _show(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("case", "size", "ours", "unit", "peer", "its value", "ratio", "plain", "limit")
    for row in rows:
        cells = (row.case, row.size, row.ours, row.unit, row.peer, row.peer_value, row.ratio, row.plain, row.limit)
        table.add_row(*("" if cell is None else f"{cell:g}" if isinstance(cell, float) else cell for cell in cells))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
