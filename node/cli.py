"""The command `synergos`. Each command parses, calls one function, and prints; what it needs is imported only then.

Exit codes: 0 well; 1 a run or a peer failed, or the run was cancelled; 2 something must be changed first, and the
sentence on standard error says what; 130 interrupted, and what was running has ended.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from engine.errors import EngineError, Misuse, Refused

if TYPE_CHECKING:
    from rich.console import Console

    from engine.jobfile import Job
    from node.control import Event
    from node.operator import Operator


class Commands(TyperGroup):
    """The commands of one level; the engine's errors and interruptions become a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EngineError as error:
            raise _said(str(error), 2 if isinstance(error, (Misuse, Refused)) else 1) from None
        except KeyboardInterrupt:
            raise _said("interrupted", 130) from None


def _said(sentence: str, code: int) -> typer.Exit:
    print(sentence, file=sys.stderr)
    return typer.Exit(code)


app = typer.Typer(
    cls=Commands,
    help="One model from the data of several organisations, none of which shows the others a row.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data = typer.Typer(help="The data sets of this organisation.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data, name="data")

JobFile = Annotated[Path, typer.Argument(metavar="JOB.toml", help="The job file.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Write all figures to this file.")]
At = Annotated[
    Path | None, typer.Option("--at", metavar="FOLDER", help="The operator's folder [default: in $SYNERGOS_HOME].")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FOLDER", help="Keep each party's model part, report and scores in this folder."),
]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The worker's folder.")]


def _version(asked: bool) -> None:
    if asked:
        from engine import __version__

        print(f"synergos {__version__}")
        raise typer.Exit


@app.callback()
def synergos(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@app.command()
def check(job_file: JobFile) -> None:
    """Say everything that is wrong with a job and its files. Nothing is computed or sent."""
    from engine import simulate as simulation
    from engine.vertical import job as vertical

    job = _load(job_file)
    tables = simulation.check(job)
    for name, of_party in tables.items():
        for part, table in of_party.items():
            columns = ", ".join(table.column_names) or "none"
            print(f"{name}: {len(table):,} rows to {part} with, columns {columns}")
    print("nothing is wrong. Who would learn what:")
    for line in vertical.learns(job):
        print(f"- {line}")


@app.command()
def simulate(job_file: JobFile, json: Json = None, out: Out = None) -> None:
    """Run a job with all parties in this process."""
    from engine import simulate as simulation
    from node import folders
    from node.show import Bars

    job = _load(job_file)
    _writable(json)
    with Bars(_console()) as bars:
        figures, parts = simulation.simulate(job, lambda s: bars.step(s.party, s.stage, s.done, s.total, s.figures))
    if out is not None:
        for name, part in parts.items():
            for file, content in part.files.items():
                folders.write(out / name / file, content)
    _show(job, figures, json)


@app.command()
def submit(
    job_file: JobFile,
    at: At = None,
    json: Json = None,
    out: Out = None,
    wait: Annotated[bool, typer.Option(help="Follow the run to its end.")] = True,
    local: Annotated[
        bool,
        typer.Option("--local", help="Start real nodes on this machine for this one job, with the job's own files."),
    ] = False,
) -> None:
    """Submit a job to the coordinator. Its files are names of data sets that the workers have registered."""
    _writable(json)
    if local:
        _run_locally(_load(job_file), json, out)
        return
    if out is not None:
        raise Misuse("--out goes with --local; otherwise each worker keeps its own part, in runs/ of its folder")
    job = _load(job_file, files=False)
    with _operator(at) as operator:
        run = operator.submit(job)
        print(f"{run} is proposed to {', '.join(job.order)}")
        if wait:
            with _follower() as see:
                operator.follow(run, see)
            _show(job, operator.results(run), json)
        elif json is not None:
            raise Misuse("--json holds a run's figures, so it needs --wait")


@app.command()
def status(run: Annotated[str, typer.Argument(metavar="[RUN]")] = "", at: At = None, json: Json = None) -> None:
    """Show the workers and runs, or one run."""
    from node import show

    _writable(json)
    with _operator(at) as operator:
        answer = operator.status(run)
        _write(json, answer)
        if not run:
            show.runs(_console(), answer)
            return
        print(f"{run} is {answer['state']}" + (f": {answer['why']}" if answer["why"] else ""))
        if answer["state"] == "finished":
            _show(_job(answer["job"]), operator.results(run), None)


@app.command()
def watch(run: str, at: At = None) -> None:
    """Follow a run to its end."""
    with _operator(at) as operator, _follower() as see:
        operator.follow(run, see)


@app.command()
def ledger(run: str, at: At = None, json: Json = None) -> None:
    """Show what left each party in a finished run. How it was protected, and who received it."""
    from node import show

    _writable(json)
    with _operator(at) as operator:
        entries = operator.ledger(run)
    _write(json, entries)
    show.ledger(_console(), entries)


@app.command()
def cancel(run: str, at: At = None) -> None:
    """End a run for everybody."""
    with _operator(at) as operator:
        operator.cancel(run)
    print(f"{run} is being cancelled")


@app.command()
def init(
    directory: Annotated[Path | None, typer.Argument(metavar="DIR", help="A new folder, else $SYNERGOS_HOME.")] = None,
    worker: Annotated[list[str], typer.Option(help="An organisation; once for each.")] = [],  # noqa: B006 (typer's way)
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the coordinator listens.")] = "127.0.0.1:7443",
) -> None:
    """Make the folders of a federation. Certificates, identities, settings; each worker's moves to its organisation."""
    from node import folders

    target = folders.init(directory or _home(), worker, address=listen)
    print(f"{target} holds a federation of {', '.join(worker)}. Start, each where it belongs:")
    print(f"  synergos coordinator {target / 'coordinator'}")
    for name in worker:
        print(f"  synergos worker {target / 'workers' / name}")
    print(f"and give each worker its data: synergos data add {target / 'workers' / worker[0]} NAME FILE")


@app.command()
def coordinator(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The coordinator's folder.")],
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT")] = None,
) -> None:
    """Serve a federation. Workers connect to it, operators ask it, runs meet in its relay."""
    from node.coordinator import serve
    from node.process import run

    raise typer.Exit(run(lambda: serve(str(folder), listen, lambda address: _now(f"listening on {address}"))))


@app.command()
def worker(folder: Folder, coordinator: Annotated[str | None, typer.Option(metavar="HOST:PORT")] = None) -> None:
    """Serve one organisation. It connects to the coordinator and plays the runs that its policy allows."""
    from node.process import run
    from node.worker import serve

    raise typer.Exit(run(lambda: serve(str(folder), coordinator, _now)))


@data.command("add")
def data_add(folder: Folder, name: str, source: Annotated[str, typer.Argument(metavar="FILE")]) -> None:
    """Register a file or URL under the name by which jobs call it."""
    from node.folders import worker_folder
    from node.keys import require_name

    require_name(name, "data set")
    if "://" not in source:
        path = Path(source).resolve()
        if not path.is_file():
            raise Misuse(f"there is no file {source}")
        source = str(path)
    worker_folder(folder).register({name: source})
    print(f"jobs may now ask for {name!r}; the policy in {folder / 'policy.toml'} says which")


@data.command("list")
def data_list(folder: Folder) -> None:
    """List the registered data sets."""
    from node.folders import worker_folder

    for name, source in worker_folder(folder).data().items():
        print(f"{name}\t{source}")


@app.command()
def fingerprint(folder: Folder) -> None:
    """Print the fingerprint of an identity. The organisation reads it to its partners, who then `trust` it."""
    from node import keys
    from node.folders import worker_folder

    print(keys.fingerprint(worker_folder(folder).identity().public))


@app.command()
def trust(folder: Folder, organisation: str, fingerprint: str) -> None:
    """Trust another organisation's identity. Compare its fingerprint first, by telephone or in person."""
    from node.folders import worker_folder

    worker_folder(folder).pin(organisation, fingerprint)
    print(f"runs with {organisation} now need an approval signed by {fingerprint}")


@app.command()
def warmup() -> None:
    """Compile the kernels for this machine. Else the first run does."""
    from engine.kernels.tiers import warmup as compile_all

    compile_all(print)


@app.command("demo")
def demo_command(
    label_holder: Annotated[Path | None, typer.Option(metavar="FILE", help="Its table, with the label.")] = None,
    feature_holder: Annotated[Path | None, typer.Option(metavar="FILE", help="The other table.")] = None,
    id: Annotated[str | None, typer.Option(metavar="COL", help="The column that identifies a row.")] = None,
    label: Annotated[str | None, typer.Option(metavar="COL", help="The column to predict, 0 or 1.")] = None,
    json: Json = None,
) -> None:
    """Align, train and evaluate on real nodes. On German credit, or on two files of your own."""
    from node import demo

    given = (label_holder, feature_holder, id, label)
    if any(given) and not all(given):
        raise Misuse("give all of --label-holder, --feature-holder, --id and --label, or none of them")
    _writable(json)
    with demo.own(*given) if all(given) else demo.german_credit() as job:  # type: ignore[arg-type]
        print(f"A coordinator and the workers of {' and '.join(job.order)}, each a process, over gRPC with mutual TLS.")
        _run_locally(job, json, None)


def _run_locally(job: Job, json: Path | None, out: Path | None) -> None:
    from node.local import run_job

    with _follower() as see:
        figures = run_job(job, see, out)
    _show(job, figures, json)


def main() -> None:
    """Run the command; being asked to end is an interruption like Ctrl-C, so nothing is left behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()


def _now(line: str) -> None:
    """Print a line that whoever reads a pipe sees at once."""
    print(line, flush=True)


def _load(file: Path, *, files: bool = True) -> Job:
    from engine import jobfile
    from engine.vertical.job import parameters_of

    return jobfile.load(file, files=files, parameters_of=parameters_of)


def _job(values: dict[str, Any]) -> Job:
    from engine.jobfile import Job

    return Job.from_json(values)


def _home() -> Path:
    return Path(os.environ.get("SYNERGOS_HOME", ".synergos"))


def _operator(at: Path | None) -> Operator:
    from node.folders import operator_folder
    from node.operator import Operator

    return Operator(operator_folder(at or _home() / "operators" / "operator"))


def _console() -> Console:
    from rich.console import Console

    return Console()


@contextmanager
def _follower() -> Iterator[Callable[[Event], None]]:
    """Give a function that shows a run's events; a run that ends otherwise than well ends the command."""
    from node.operator import Unfinished
    from node.show import Bars

    with Bars(_console()) as bars:

        def show(event: Event) -> None:
            body = event.body
            if event.kind == "progress":
                bars.step(event.party, body["stage"], body["done"], body["total"], body["figures"])
            elif event.kind == "state":
                bars.say(f"the run is {body['state']}" + (f": {body['why']}" if body["why"] else ""))
            elif event.kind == "alert":
                bars.say(body["what"])

        try:
            yield show
        except Unfinished as ended:
            refused = ended.state == "refused"  # somebody must change something, and why says what
            raise _said(ended.why if refused else str(ended), 2 if refused else 1) from None


def _show(job: Job, figures: dict[str, Any], json: Path | None) -> None:
    from engine.vertical.job import learns
    from node.show import report

    report(_console(), figures, job.label_holder, learns(job))
    _write(json, figures)


def _writable(path: Path | None) -> None:
    if path is not None and not (path.parent.is_dir() and os.access(path.parent, os.W_OK) and not path.is_dir()):
        raise Misuse(f"{path} cannot be written: its folder must exist and be writable, and it must not be a folder")


def _write(path: Path | None, value: object) -> None:
    """Write a JSON file, whole or not at all."""
    if path is None:
        return
    import json

    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Misuse(f"{path} cannot be written: {error.strerror}") from None


if __name__ == "__main__":
    main()
