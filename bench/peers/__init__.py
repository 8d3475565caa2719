"""The peers: which releases, how they are installed, how one of them is asked for its figures.

Each set of peers whose pins agree has a virtual environment of its own, `.peers/<name>` in the checkout. A measurement
is a module of this package that runs there as a subprocess, imports nothing of the engine, and prints one JSON line.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".peers"

PINS: dict[str, tuple[str, ...]] = {
    "crypto": ("phe==1.5.0", "gmpy2==2.3.2", "tenseal==0.3.18", "cryptography==50.0.2", "numpy==2.4.6"),
    "sodium": ("rbcl==1.1.2",),
    "openmined": ("openmined.psi==2.0.6",),
    "spu": ("spu==0.9.5",),
    "grpc": ("grpcio==1.85.1",),
    "heu": ("sf-heu==0.5.2b0",),
    "fate": ("fate_utils==0.1.0", "numpy==2.4.6"),
}


class Unavailable(Exception):
    """A peer has no figures to give; the text says why and what to do."""


@dataclass(frozen=True)
class Peer:
    """One measurement of one peer."""

    name: str  # with its version, as pinned
    environment: str  # one of PINS
    module: str  # of this package
    figures: tuple[str, ...]  # the keys it answers with
    arguments: tuple[str, ...] = ()

    def ask(self, timeout: float = 1800.0) -> Mapping[str, float]:
        """Run the measurement; Unavailable if it is not installed, fails, or takes longer than `timeout` seconds."""
        python = FOLDER / self.environment / "bin" / "python"
        if not python.exists():
            raise Unavailable("not installed, run make bench-peers")
        command = [str(python), "-m", f"bench.peers.{self.module}", *self.arguments]
        with tempfile.TemporaryDirectory() as litter:  # some peers leave traces behind in the temporary folder
            settings = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": litter}
            code, out, errors = _run(command, settings, timeout)
        return self._read(code, out, errors)

    def _read(self, code: int, out: str, errors: str) -> Mapping[str, float]:
        lines = [line for line in out.splitlines() if line.startswith(_MARK)]
        if code != 0 or not lines:
            why = (errors.strip().splitlines() or ["it printed nothing"])[-1]
            raise Unavailable(f"failed, {why[:200]}")
        figures: dict[str, float] = json.loads(lines[-1].removeprefix(_MARK))
        if missing := [key for key in self.figures if key not in figures]:
            raise Unavailable(f"failed, no figure for {', '.join(missing)}")
        return figures


def _run(command: list[str], settings: Mapping[str, str], timeout: float) -> tuple[int, str, str]:
    """Run a command to its end, or end it and every process that it has started."""
    own_group = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=settings, start_new_session=True
    )
    try:
        out, errors = own_group.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"took longer than {timeout:g} s") from None
    finally:
        if own_group.poll() is None:
            os.killpg(own_group.pid, signal.SIGKILL)
            own_group.communicate()
    return own_group.returncode, out, errors


@dataclass(frozen=True)
class Elsewhere:
    """A peer that cannot be installed beside the others, and the figure that its authors published."""

    name: str
    figures: tuple[str, ...]  # the keys it would answer with
    published: str

    def ask(self) -> Mapping[str, float]:
        """Raise Unavailable."""
        raise Unavailable(f"not installed here, published: {self.published}")


_MARK = "figures: "


def answer(**figures: float) -> None:
    """Print what a measurement found; the last thing that its module does."""
    print(_MARK + json.dumps(figures), flush=True)


def build(name: str) -> None:
    """Make one environment with its pinned releases; Unavailable, and it counts as not installed, if pip fails."""
    target = FOLDER / name
    venv.create(target, with_pip=True, clear=True)
    command = [str(target / "bin" / "python"), "-m", "pip", "install", "--quiet", *PINS[name]]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        shutil.rmtree(target)
        raise Unavailable(f"pip failed: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1][:200]}")
