"""The page of `node` says what the code does: its example runs, its numbers are those in use, its files exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import node
from node.folders import coordinator_folder
from node.local import LocalFederation

README = Path(node.__file__).with_name("README.md")
JOB = """\
evaluate_fraction = 0.3
[align]
min_intersection = 20
[model]
name = "logistic_regression"
max_iter = 2
[parties.bank]
train = "{bank}"
id = "customer"
label = "y"
[parties.telco]
train = "{telco}"
id = "customer"
"""


def test_the_example_runs(
    tables: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.toml").write_text(JOB.format_map(tables.files))
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    exec(compile(block, str(README), "exec"), {})
    assert "'auc'" in capsys.readouterr().out


def test_the_numbers_are_those_in_use() -> None:
    checked = 0
    for line in README.read_text().splitlines():
        cells = line.split("|")
        names = [(m, n) for m, n in re.findall(r"`(\w+)\.(\w+)`", cells[-2]) if n.isupper()] if len(cells) > 2 else []
        if names:
            said = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", cells[2])]
            assert said == [getattr(importlib.import_module(f"node.{module}"), name) for module, name in names], line
            checked += len(names)
    assert checked == 15


def test_every_file_is_named() -> None:
    files = {path.name for path in README.parent.iterdir() if path.suffix in (".py", ".proto")} - {"__init__.py"}
    assert files == set(re.findall(r"`(\w+\.(?:py|proto))`", README.read_text()))


def test_the_heartbeat_is_the_default(tmp_path: Path) -> None:
    LocalFederation(tmp_path / "f", ["bank"])
    assert coordinator_folder(tmp_path / "f" / "coordinator").heartbeat == 5
