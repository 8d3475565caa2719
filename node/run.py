"""The run process: one party's part in one run, alone in a process that ends with it.

`python -m node.run FOLDER`, started by the worker: an `Assignment` comes as the first line of standard input, notes
(control.Ready, Progress, Failed, `Played`) leave as lines of standard output, results go to the folder it names. When
standard input closes, the worker is gone and this process ends at once.
"""

from __future__ import annotations

import base64
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from engine.errors import EngineError
from engine.jobfile import Job
from engine.runtime.noise import RunKeys
from engine.runtime.party import Party, Progress
from node import control, dial, manifest, process
from node.attach import Attachment
from node.budget import DailyCount
from node.folders import WorkerFolder, worker_folder, write

LAST = "summary.json"  # the file that is written last: where it is, the results are complete
_PROGRESS_EVERY = 0.1  # seconds between two notes about the same stage; the last of a stage always goes


@dataclass(frozen=True)
class Assignment:
    """What a run process needs to know. It holds the run's secret keys: it goes through a pipe and nowhere else."""

    run: str
    job: dict[str, Any]
    peers: dict[str, Any]  # peer -> its public run keys, base64
    secret: bytes
    manifest_digest: bytes
    coordinator: str
    heartbeat: float
    results: str

    def __repr__(self) -> str:
        return f"Assignment({self.run})"


@dataclass(frozen=True)
class Played:
    """The part has ended well: what may leave this organisation, its figures and its ledger."""

    run: str
    summary: dict[str, Any]
    ledger: list[Any]


def play(folder: WorkerFolder, assignment: Assignment, say: control.Say) -> Played:
    """Read the data, meet the peers, play this organisation's part, keep its results."""
    from engine.vertical import job as vertical

    job, me = Job.from_json(assignment.job), folder.organisation
    tables = vertical.read(job, me, folder.located)
    policy = folder.policy()
    policy = policy.within(policy.permit(vertical.proposal(job, tables)))
    if policy.matching.counts:
        policy = policy.counting(DailyCount(folder.path / "matched.db", me, policy.matching))
    tls = folder.tls()
    with Attachment(
        assignment.coordinator,
        dial.credentials(tls),
        run=bytes.fromhex(assignment.run),
        me=me,
        parties=job.order,
        keys=RunKeys.from_secret(assignment.secret),
        peer_public={peer: base64.b64decode(key) for peer, key in assignment.peers.items()},
        manifest_digest=assignment.manifest_digest,
        heartbeat=assignment.heartbeat,
        options=dial.options(assignment.coordinator),
    ) as attachment:
        links = attachment.links()
        say(control.Ready(assignment.run))
        report = _Reporter(assignment.run, say)
        party = Party(me, job.order, links, vertical.messages(job), policy=policy, progress=report)
        part = vertical.play(party, job, tables)
        ledger = party.ledger.to_json()
        _keep(Path(assignment.results), {**part.files, "ledger.json": manifest.canonical(ledger)}, part.summary)
    return Played(assignment.run, part.summary, ledger)


class _Reporter:
    """Passes progress on, no more often than anybody can read."""

    def __init__(self, run: str, say: control.Say) -> None:
        self._run, self._say = run, say
        self._last: tuple[str, float] = ("", 0.0)

    def __call__(self, step: Progress) -> None:
        stage, at = self._last
        now = time.monotonic()
        if step.stage == stage and step.done < step.total and not step.figures and now - at < _PROGRESS_EVERY:
            return
        self._last = step.stage, now
        self._say(control.Progress(self._run, step.stage, step.done, step.total, dict(step.figures)))


def _keep(folder: Path, files: Mapping[str, bytes], summary: Mapping[str, Any]) -> None:
    for name, content in {**files, LAST: manifest.canonical(summary)}.items():
        write(folder / name, content)


def main(arguments: list[str]) -> int:
    """Play one assignment; return 0 if it ended well and 1 if not, after saying so."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints goes to the log
    say = _speaker(out)
    (folder,) = arguments
    assignment = control.from_text(sys.stdin.buffer.readline().rstrip(b"\n"), (Assignment,), "worker")
    process.end_with_stdin()
    try:
        say(play(worker_folder(folder), assignment, say))
    except Exception as error:
        if not isinstance(error, EngineError):
            print(process.defect(error), file=sys.stderr)
        say(control.Failed.of(assignment.run, error, worker_folder(folder).organisation))
        return 1
    return 0


def _speaker(out: BinaryIO) -> control.Say:
    lock = threading.Lock()

    def say(message: object) -> None:
        with lock:
            out.write(control.to_text(message).encode() + b"\n")

    return say


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
