"""A whole federation on this machine: real processes over loopback, for the demo, for tests, and to try a job."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from engine.errors import LinkLost, Misuse
from engine.jobfile import Job
from node.control import Event
from node.folders import init, operator_folder, worker_folder
from node.operator import Operator

_PATIENCE = 60.0  # seconds for a process to say that it is ready
_GRACE = 5.0


def run_job(job: Job, see: Callable[[Event], None], keep: Path | None = None) -> dict[str, Any]:
    """Run a job on nodes of its own on this machine; return its figures, the pooled baseline among them if asked for.

    Args:
        see: called with each event of the run.
        keep: a folder for what each party's worker kept of the run: its model part, its report, its scores.

    Raises:
        Misuse: before anything starts, with everything that is wrong with the job or the files.
        Unfinished: the run ended otherwise than well.
    """
    from engine import simulate

    tables = simulate.check(job)
    with (
        tempfile.TemporaryDirectory(prefix="synergos-") as folder,
        LocalFederation(Path(folder) / "federation", job.order) as federation,
        federation.operator() as operator,
    ):
        for name, data in job.parties.items():
            federation.register(name, data.sources())
        run = operator.submit(job.with_named_sources())
        operator.follow(run, see)
        figures = operator.results(run)
        if keep is not None:
            for name in job.order:
                kept = _kept(federation.folder(name) / "runs" / run, name)
                shutil.copytree(kept, keep / name, dirs_exist_ok=True)
    if job.evaluate.baseline:
        figures["baseline"]["pooled"] = simulate.pooled(job, tables)
    return figures


def _kept(results: Path, worker: str) -> Path:
    """Return where a worker keeps a run once it is there: workers learn of the end after the operator."""
    until = time.monotonic() + _PATIENCE
    while not results.exists():
        if time.monotonic() > until:
            raise LinkLost(worker, f"its worker has not kept the run after {_PATIENCE:g} s; its log may say why")
        time.sleep(0.05)
    return results


class LocalFederation:
    """A coordinator and one worker per organisation, each a process of its own, that end with this one.

    Args:
        directory: where `init` makes their folders, unless it has done so already.
        workers: the organisations.
        heartbeat: seconds; a process that dies is missed after three at the latest.

    Entering starts all processes and waits until they are connected; leaving ends them. Logs are in `directory`/logs.
    """

    def __init__(self, directory: str | Path, workers: Sequence[str], heartbeat: float = 5.0) -> None:
        self.directory = Path(directory)
        self.workers = tuple(workers)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.address = "127.0.0.1:0"
        if not (self.directory / "coordinator").exists():
            init(self.directory, self.workers, address=self.address, heartbeat=heartbeat)

    def __enter__(self) -> LocalFederation:
        try:
            self.start_coordinator()
            self.start_workers()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def folder(self, worker: str) -> Path:
        """Return a worker's folder."""
        return self.directory / "workers" / worker

    def register(self, worker: str, sets: Mapping[str, str]) -> None:
        """Register data sets, name -> path or URL, at a worker."""
        worker_folder(self.folder(worker)).register(sets)

    def operator(self) -> Operator:
        """Return an operator's connection to the coordinator; close it, or use it in a `with` block."""
        (folder,) = (self.directory / "operators").iterdir()
        return Operator(operator_folder(folder), self.address)

    def start_coordinator(self) -> None:
        """Start the coordinator; when it comes back after an end, it listens where it did before."""
        folder = self.directory / "coordinator"
        self._start("coordinator", "node.coordinator", str(folder), "--listen", self.address)
        self.address = self._ready("coordinator")

    def start_workers(self, *workers: str) -> None:
        """Start these workers, or all, and wait until the coordinator has admitted them."""
        for worker in workers or self.workers:
            self._start(worker, "node.worker", str(self.folder(worker)), "--coordinator", self.address)
        for worker in workers or self.workers:
            self._ready(worker)

    def _start(self, name: str, module: str, *arguments: str) -> None:
        log = self._log(name)
        log.parent.mkdir(mode=0o700, exist_ok=True)
        with log.open("ab") as stderr:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments, "--with-parent"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C is this process' to handle; they end when their standard input does
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def _log(self, name: str) -> Path:
        return self.directory / "logs" / f"{name}.log"

    def _ready(self, name: str) -> str:
        """Return the line that a process says once it is ready; raise its own last words if it ends instead."""
        process = self.processes[name]
        assert process.stdout is not None
        late = threading.Timer(_PATIENCE, process.kill)
        late.start()
        try:
            line = process.stdout.readline().decode().strip()
        finally:
            late.cancel()  # also when interrupted: this process would wait for its timer
        if line:
            return line
        code = process.wait()
        said = self._log(name).read_text(errors="replace").strip().splitlines()
        if code == 2 and said:
            raise Misuse(said[-1])
        raise LinkLost(name, f"its process did not become ready; {self._log(name)} may say why")

    def _end(self) -> None:
        for name in (*self.workers, "coordinator"):  # workers first: they may still be keeping what a run gave them
            if name in self.processes:
                self.stop(name)

    def stop(self, name: str) -> None:
        """Ask a process to end, and kill it if it does not."""
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
