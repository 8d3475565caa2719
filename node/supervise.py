"""One run at one worker: judge the proposal, sign the approval, start the run process, sign what came of it.

    coordinator          this worker                                   its run process (run.py)
    Propose      ---->   data, policy and pins checked; keys made
                 <----   Approved, signed
    Start        ---->   every approval checked against the pins
                         Assignment, by the child's standard input  -->
                 <----   Ready, Progress ...                       <--
                 <----   Finished, signed                          <--  results in a hidden folder
    Ended        ---->   the child ends; results get their name if the run finished, or are deleted

Only here is the organisation's identity used; the run process never holds it. Run keys go to the child by its standard
input and are nowhere else.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

from engine.errors import EngineError, LinkLost, PeerFault
from engine.jobfile import Job
from engine.runtime.noise import RunKeys
from node import control, manifest
from node.folders import WorkerFolder, write
from node.keys import Signed, require_name
from node.manifest import COORDINATOR, Proposal
from node.run import LAST, Assignment, Played

_SPEECH = (control.Ready, control.Progress, control.Failed, Played)
_GRACE = 2.0  # seconds between asking a run process to end and killing it


class Supervised:
    """A run as this worker sees it.

    Args:
        tell: sends a message to the coordinator.
        address: where the run process attaches.
        heartbeat: seconds.
    """

    def __init__(self, folder: WorkerFolder, run: str, tell: control.Say, address: str, heartbeat: float) -> None:
        self.run = run
        self._folder, self._me = folder, folder.organisation
        self._tell, self._address, self._heartbeat = tell, address, heartbeat
        self._child: asyncio.subprocess.Process | None = None
        self._over = asyncio.Event()

    async def propose(self, proposal: bytes) -> None:
        """Judge a proposal and answer it."""
        try:
            await asyncio.to_thread(self._consider, proposal)
        except Exception as error:
            self._tell(control.Failed.of(self.run, error, self._me))
            if not isinstance(error, EngineError):
                raise
        else:
            self._tell(control.Approved(self.run, self._approval.to_json()))

    def _consider(self, data: bytes) -> None:
        proposal = Proposal.decode(data)
        if proposal.run != self.run or proposal.federation != self._folder.federation:
            raise PeerFault(COORDINATOR, "proposed a run of another federation or under another name")
        require_name(proposal.name, "run")
        job = proposal.parsed_job()
        if self._me not in job.order:
            raise PeerFault(COORDINATOR, f"proposed a run to {self._me} that it takes no part in")
        for party in job.order:
            manifest.pin_of(self._folder.pins(), party)
        check(self._folder, job)
        self._proposal, self._name, self._job = data, proposal.name, job
        self._keys = RunKeys.generate()
        self._approval = manifest.approve(
            self._folder.identity(), self._me, data, self._keys.public(), self._folder.policy_text()
        )

    async def play(self, whole: bytes) -> None:
        """Check the manifest, start the run process, pass on what it says until it ends."""
        try:
            assignment = self._assignment(whole)
            await self._supervise(assignment, whole)
        except Exception as error:
            self._tell(control.Failed.of(self.run, error, self._me))
            if not isinstance(error, EngineError):
                raise

    def _assignment(self, whole: bytes) -> Assignment:
        parties, pins = self._job.order, self._folder.pins()
        public = manifest.verify(
            whole, proposal=self._proposal, mine=self._approval, me=self._me, parties=parties, pins=pins
        )
        self._pins = {party: manifest.pin_of(pins, party) for party in parties}
        self._manifest = whole
        return Assignment(
            self.run,
            self._job.to_json(),
            {peer: base64.b64encode(key).decode() for peer, key in public.items()},
            self._keys.secret(),
            manifest.digest(whole),
            self._address,
            self._heartbeat,
            str(self._partial),
        )

    async def _supervise(self, assignment: Assignment, whole: bytes) -> None:
        self._log.parent.mkdir(mode=0o700, exist_ok=True)
        with open(self._log, "ab", opener=_private) as log:
            child = self._child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "node.run", str(self._folder.path)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=2 * control.NOTE_LIMIT,
                start_new_session=True,  # Ctrl-C is the worker's to handle: it ends its children and says why
            )
        if self._over.is_set():  # it ended while the child was being started
            await self._stop()
            return
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(control.to_text(assignment).encode() + b"\n")
        said = False
        async for line in child.stdout:
            message = control.from_text(line, _SPEECH, "the run process")
            said = isinstance(message, (Played, control.Failed))
            self._tell(self._finished(message, whole) if isinstance(message, Played) else message)
        code = await child.wait()
        if not said and not self._over.is_set():
            raise LinkLost(self._me, f"its run process ended {_how(code)}; {self._log.name} at that worker may say why")

    def _finished(self, played: Played, whole: bytes) -> control.Finished:
        final = manifest.conclude(self._folder.identity(), self._me, whole, played.ledger)
        return control.Finished(self.run, final.to_json(), played.summary, played.ledger)

    async def end(self, ended: control.Ended | None) -> None:
        """End the run here; None if the coordinator is lost."""
        self._over.set()
        await self._stop()
        if ended is None:
            settle(self._partial)
        elif ended.state == "finished" and self._partial.exists():
            self._keep(ended)
        else:
            shutil.rmtree(self._partial, ignore_errors=True)

    async def _stop(self) -> None:
        child = self._child
        if child is None:
            return
        with contextlib.suppress(TimeoutError, ProcessLookupError):
            if child.returncode is None:
                child.send_signal(signal.SIGTERM)
            await asyncio.wait_for(child.wait(), _GRACE)
        if child.returncode is None:
            child.kill()
            await child.wait()

    def _keep(self, ended: control.Ended) -> None:
        """Check every party's signed end, and give the results their name."""
        for party in self._job.order:
            signed = Signed.from_json(ended.finals.get(party, {}), COORDINATOR)
            manifest.read_final(signed.opened("final", party, self._pins[party]), party, self._manifest)
        write(self._partial / "manifest.json", self._manifest)
        write(self._partial / "finals.json", manifest.canonical(ended.finals))
        target = self._runs / self._name
        self._partial.rename(target if not target.exists() else self._runs / f"{self._name}-{self.run[:8]}")

    @property
    def _runs(self) -> Path:
        return self._folder.path / "runs"

    @property
    def _partial(self) -> Path:
        return self._runs / f".{self.run}"

    @property
    def _log(self) -> Path:
        return self._folder.path / "logs" / f"{self._name}.log"


def check(folder: WorkerFolder, job: Job) -> None:
    """Read this organisation's data for a job and judge both by its policy; Misuse or Refused says what is wrong."""
    from engine.vertical import job as vertical

    me = folder.organisation
    tables = vertical.read(job, me, folder.located)
    proposal = vertical.proposal(job, tables)
    policy = folder.policy()
    policy.within(policy.permit(proposal)).check_rows(sum(map(len, tables.values())))


def sweep(folder: WorkerFolder) -> None:
    """Clear up after runs whose end this worker did not learn."""
    for partial in (folder.path / "runs").glob(".*"):
        settle(partial)


def settle(partial: Path) -> None:
    """Keep a run's results if they are complete, as `unconfirmed`, or delete what there is."""
    if (partial / LAST).exists():
        partial.rename(partial.with_name(f"unconfirmed-{partial.name[1:]}"))
    else:
        shutil.rmtree(partial, ignore_errors=True)


def _how(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
