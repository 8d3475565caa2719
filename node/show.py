"""What a person sees in a terminal: bars while a run goes on, tables when it is over; plain lines in a pipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from engine.runtime.protection import Public

_WIDE = 140  # columns of a terminal that shows every protection in full
_PLACES = {"together": "together, encrypted", "alone": "{holder} alone", "pooled": "pooled in clear"}


class Bars:
    """The progress of all parties; `step` may be called from any thread."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[tuple[str, str], Any] = {}
        self._said: dict[tuple[str, str], str] = {}

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def step(self, party: str, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Show one step of one party's work."""
        note = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
        key = party, stage
        if self._console.is_terminal:
            if key not in self._tasks:
                self._tasks[key] = self._bars.add_task(f"{party}  {stage}", total=total, note=note)
            self._bars.update(self._tasks[key], completed=done)
            if note:
                self._bars.update(self._tasks[key], note=note)
        elif note or done == total:
            line = f"{party}: {stage} {done:,} of {total:,}" + (f", {note}" if note else "")
            if self._said.get(key) != line:
                self._said[key] = line
                self.say(line)

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(line, highlight=False, markup=False)


def report(console: Console, figures: Mapping[str, Any], holder: str, learns: Sequence[str]) -> None:
    """Print everything that a run has to show: metrics, rows, seconds, the ledger, who learnt what."""
    console.print(_metrics(figures, holder))
    rows, seconds, model = figures["rows"], figures["seconds"], figures["model"]
    parts = ", ".join(f"{rows[part]:,} to {part}" for part in ("train", "evaluate", "predict") if part in rows)
    own = ", ".join(f"{name} {n:,}" for name, n in rows.items() if name not in _PARTS)
    for line in (
        f"rows: {own}; {rows['aligned']:,} in common ({parts})",
        f"training: {model['ended']}; weights are {model['weights']}",
        "seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()),
        "sent: " + ", ".join(f"{pair.replace('>', ' to ')} {size(count)}" for pair, count in figures["bytes"].items()),
    ):
        console.print(line, highlight=False, markup=False)
    ledger(console, figures["ledger"])
    console.print("Who learns what", style="bold")
    for line in learns:
        console.print(f"- {line}", highlight=False, markup=False)


_PARTS = ("aligned", "train", "evaluate", "predict")


def _metrics(figures: Mapping[str, Any], holder: str) -> Table:
    part = "evaluate" if "evaluate" in figures["metrics"] else "train"
    columns = {"together": figures["metrics"], **figures["baseline"]}
    table = Table(title=f"measured on the {part} rows", title_justify="left")
    table.add_column("")
    names = list(dict.fromkeys(name for of_part in figures["metrics"].values() for name in of_part))
    for name in names:
        table.add_column(name, justify="right")
    for key in ("alone", "together", "pooled"):
        if key in columns:
            values = [columns[key][part].get(name) for name in names]
            label = _PLACES[key].format(holder=holder)
            shown = ("-" if value is None else f"{value:.4f}" for value in values)
            table.add_row(label, *shown, style="bold" if key == "together" else None)
    return table


def ledger(console: Console, entries: Sequence[Mapping[str, Any]]) -> None:
    """Print what each party sent, how it was protected, and how much."""
    whole = console.width >= _WIDE
    table = Table(title="disclosure ledger: what left each party", title_justify="left")
    for name in ("from", "to", "message", "protection"):
        table.add_column(name, overflow="fold")
    table.add_column("messages", justify="right")
    table.add_column("bytes", justify="right")
    for entry in entries:
        protection = entry["protection"]
        if not whole and entry["rank"] <= Public.rank:  # what a receiver can read is always explained
            protection = protection.partition(" (")[0]
        sent = (entry["sender"], entry["receiver"], entry["message"].rpartition(".")[2], protection)
        table.add_row(*sent, f"{entry['messages']:,}", size(entry["bytes"]))
    console.print(table)


def size(count: int) -> str:
    """Return a number of bytes as people read it."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}" if unit != "B" else f"{count} B"
        amount /= 1000
    return f"{amount:.3g} GB"


def runs(console: Console, status: Mapping[str, Any]) -> None:
    """Print the coordinator's workers and runs."""
    workers = ", ".join(status["workers"]) or "none"
    console.print(f"workers connected: {workers}", highlight=False, markup=False)
    table = Table()
    for name in ("run", "project", "experiment", "parties", "state", "why"):
        table.add_column(name, overflow="fold")
    for run in status["runs"]:
        project = f"{run['collaboration']}/{run['project']}"
        table.add_row(run["run"], project, run["experiment"], ", ".join(run["parties"]), run["state"], run["why"])
    console.print(table)
