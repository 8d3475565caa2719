"""What users may rely on: the names that each package offers. A change here belongs in CHANGELOG.md."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
API = {
    "engine": ["EngineError", "Federation", "JointModel", "LinkLost", "Misuse", "PeerFault", "Refused", "federation"],
    "engine.vertical": ["GlmPart", "LogisticRegression"],
}


@pytest.mark.parametrize("package", API)
def test_the_names_are_these(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == API[package]
    assert all(getattr(module, name).__doc__ for name in module.__all__)


def test_the_version_is_one() -> None:
    import engine

    assert f'version = "{engine.__version__}"' in (ROOT / "pyproject.toml").read_text()
