"""What users may rely on: the names that each package offers. A change here belongs in CHANGELOG.md."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
API = {
    "engine": ["EngineError", "Federation", "JointModel", "LinkLost", "Misuse", "PeerFault", "Refused", "federation"],
    "engine.data": [
        *("Column", "Features", "Fitted", "Preprocessor", "Table"),
        *("evaluate", "problems", "read_table", "require_binary_label", "require_metrics"),
    ],
    "engine.he": ["SCHEMES", "Scheme", "scheme"],
    "engine.kernels": ["KERNELS", "tier", "warmup"],
    "engine.psi": [],
    "engine.runtime": [],
    "engine.vertical": ["GlmPart", "LogisticRegression"],
    "node": [],
}
COMMANDS = [
    *("cancel", "check", "coordinator", "data", "demo", "fingerprint", "init", "ledger"),
    *("simulate", "status", "submit", "trust", "warmup", "watch", "worker"),
]


@pytest.mark.parametrize("package", API)
def test_the_names_are_these(package: str) -> None:
    module = importlib.import_module(package)
    names = getattr(module, "__all__", [])
    assert sorted(names) == API[package]
    offered = [getattr(module, name) for name in names]
    assert all(value.__doc__ for value in offered if callable(value))


def test_every_package_of_the_engine_is_pinned() -> None:
    packages = {f"engine.{path.parent.name}" for path in (ROOT / "engine").glob("*/__init__.py")}
    assert packages == {name for name in API if name.startswith("engine.")}


def test_the_commands_are_these() -> None:
    import typer

    from node.cli import app

    assert sorted(typer.main.get_command(app).commands) == COMMANDS  # type: ignore[attr-defined]


def test_the_version_is_one() -> None:
    import engine

    assert f'version = "{engine.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_every_package_says_its_types() -> None:
    assert (ROOT / "engine/py.typed").exists()
    assert (ROOT / "node/py.typed").exists()


def test_the_benchmark_answers_by_name() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert all(suite in done.stdout for suite in ("kernels", "psi", "he", "vertical", "transport"))
