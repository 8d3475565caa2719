"""The command as people meet it: what it prints, what it writes, and a sentence for everything that can be wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from node import cli as command
from node.local import LocalFederation

JOB = """
project = "joint"
evaluate_fraction = 0.25
seed = 3
[parties.bank]
train = "bank.csv"
id = "client"
label = "y"
[parties.telco]
train = "telco.csv"
id = "client"
[align]
min_intersection = 20
[model]
name = "logistic_regression"
max_iter = 6
[evaluate]
baseline = true
"""


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Cli = Callable[..., Said]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run `synergos` with these arguments in this process."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["synergos", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            command.main()
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return run


def tables() -> dict[str, pd.DataFrame]:
    """Two parties with 400 customers each, 300 of them in common."""
    random = np.random.default_rng(5)
    values = random.standard_normal((500, 4))
    score = values @ [1.0, -1.0, 1.5, 0.5]
    ids = [f"C{i:05d}" for i in range(500)]
    whole = pd.DataFrame({"client": ids, "y": (score + random.logistic(size=500) > 0).astype(int)})
    whole[["age", "income", "calls", "minutes"]] = values
    bank = whole.loc[:399, ["client", "y", "age", "income"]]
    return {"bank": bank, "telco": whole.loc[100:, ["client", "calls", "minutes"]]}


def write(folder: Path, job: str = JOB, **parties: pd.DataFrame) -> Path:
    """Write a job and its parties' files; return the job's path."""
    for name, table in (tables() | parties).items():
        table.to_csv(folder / f"{name}.csv", index=False)
    path = folder / "job.toml"
    path.write_text(job)
    return path


def test_help_comes_at_once() -> None:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "node.cli", "--help"], capture_output=True, text=True, timeout=30)
    seconds = time.perf_counter() - start
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("simulate", "submit", "watch", "ledger", "cancel", "demo", "init"))
    assert seconds < 1.5, "promised within 0.5 s on an idle machine; this one may be busy"
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, node.cli; print(*sys.modules)"], capture_output=True, text=True, timeout=30
    ).stdout.split()
    assert not {"numpy", "pandas", "numba", "torch", "tenseal", "grpc", "sqlalchemy"} & set(loaded)


def test_the_version_is_told(cli: Cli) -> None:
    from engine import __version__

    assert cli("--version") == (0, f"synergos {__version__}\n", "")


def test_check_names_what_would_be_used_and_learnt(cli: Cli, tmp_path: Path) -> None:
    said = cli("check", write(tmp_path))
    assert said.code == 0
    assert "rows to train with, columns age, income" in said.out
    assert "rows to evaluate with, columns calls, minutes" in said.out
    assert "telco learn which of their rows all of them hold" in said.out


def test_simulate_writes_every_figure(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    said = cli("simulate", write(tmp_path), "--json", out)
    assert said.code == 0, said.err
    figures = json.loads(out.read_text())
    assert set(figures) == {"metrics", "baseline", "rows", "seconds", "bytes", "ledger", "model"}
    assert set(figures["metrics"]) == {"train", "evaluate"}
    assert set(figures["baseline"]) == {"alone", "pooled"}
    assert figures["rows"]["bank"] == figures["rows"]["telco"] == 400
    assert figures["rows"]["aligned"] == 300 == figures["rows"]["train"] + figures["rows"]["evaluate"]
    assert {"align", "train", "evaluate"} <= set(figures["seconds"])
    assert set(figures["bytes"]) == {"bank>telco", "telco>bank"}
    by_pair = dict.fromkeys(figures["bytes"], 0)
    for entry in figures["ledger"]:
        by_pair[f"{entry['sender']}>{entry['receiver']}"] += entry["bytes"]
    assert by_pair == figures["bytes"]
    together, pooled = figures["metrics"]["evaluate"]["auc"], figures["baseline"]["pooled"]["evaluate"]["auc"]
    assert abs(together - pooled) < 0.02 < together - figures["baseline"]["alone"]["evaluate"]["auc"]
    for words in ("bank alone", "together, encrypted", "pooled in clear", "disclosure ledger", "Who learns what"):
        assert words in said.out
    assert not list(tmp_path.glob(".*partial"))


def test_a_metric_that_the_rows_do_not_define_is_left_out(cli: Cli, tmp_path: Path) -> None:
    whole = tables()
    whole["bank"][150:200].assign(y=1).to_csv(tmp_path / "bank_test.csv", index=False)
    whole["telco"].to_csv(tmp_path / "telco_test.csv", index=False)
    job = JOB.replace("evaluate_fraction = 0.25\n", "")
    for name in ("bank", "telco"):
        job = job.replace(f'train = "{name}.csv"', f'train = "{name}.csv"\nevaluate = "{name}_test.csv"')
    said = cli("simulate", write(tmp_path, job), "--json", tmp_path / "out.json")
    assert said.code == 0, said.err
    figures = json.loads((tmp_path / "out.json").read_text(), parse_constant=pytest.fail)  # no NaN: that is not JSON
    for measured in (figures["metrics"], figures["baseline"]["alone"], figures["baseline"]["pooled"]):
        assert set(measured["evaluate"]) == {"log_loss", "accuracy"}
        assert set(measured["train"]) == {"auc", "ks", "log_loss", "accuracy"}


def test_a_place_that_cannot_be_written_is_said_before_work_starts(cli: Cli, tmp_path: Path) -> None:
    said = cli("simulate", write(tmp_path), "--json", tmp_path / "no such folder" / "x.json")
    assert said.code == 2
    assert "cannot be written" in said.err
    assert "train" not in said.out


def broken(party: str, change: Callable[[pd.DataFrame], Any]) -> dict[str, pd.DataFrame]:
    """Return one party's table after a change."""
    table = tables()[party]
    changed = change(table)
    return {party: table if changed is None else changed}


def _set(column: str, value: Any) -> Callable[[pd.DataFrame], None]:
    def change(table: pd.DataFrame) -> None:
        table[column] = value

    return change


# What is wrong with the data, and the words that the sentence must have.
BAD_DATA = {
    "missing id column": (
        broken("telco", lambda t: t.rename(columns={"client": "customer"})),
        "telco, telco.csv",
        "'client'",
    ),
    "duplicate ids": (broken("telco", lambda t: pd.concat([t, t[:1]])), "telco, telco.csv", "repeat"),
    "one class": (broken("bank", _set("y", 1)), "bank, bank.csv", "'y'", "one class"),
    "label with text": (broken("bank", _set("y", "maybe")), "bank, bank.csv", "'y'"),
    "all missing": (broken("telco", _set("calls", None)), "telco, telco.csv", "'calls'", "no value"),
    "constant": (broken("telco", _set("calls", 7.0)), "telco, telco.csv", "'calls'", "one value"),
    "no overlap": (
        broken("telco", lambda t: t.assign(client="X" + t["client"])),
        "telco",
        "the same kind of id",
        "'client' in",
    ),
}


@pytest.mark.parametrize("wrong", BAD_DATA)
def test_bad_data_get_a_sentence_before_any_training(wrong: str, cli: Cli, tmp_path: Path) -> None:
    changed, *words = BAD_DATA[wrong]
    said = cli("simulate", write(tmp_path, **changed))
    assert said.code == 2
    assert all(word in said.err for word in words), said.err
    assert "train" not in said.out
    assert "Traceback" not in said.err


BAD_JOBS = {
    "missing file": (JOB.replace("telco.csv", "tellco.csv"), "telco", "there is no file"),
    "unknown key": (JOB.replace("min_intersection", "min_intersecton"), "did you mean 'min_intersection'?"),
    "unknown parameter": (JOB.replace("max_iter", "max_itr"), "did you mean 'max_iter'?"),
    "unknown model": (JOB.replace("logistic_regression", "logistic"), "logistic_regression"),
    "two parties with one name": (JOB.replace("parties.telco", "parties.bank"), "two parties are called 'bank'"),
    "a party called as something else": (JOB.replace("parties.telco", "parties.aligned"), "aligned", "another name"),
    "no label": (JOB.replace('label = "y"', ""), "label"),
    "not TOML": ("[parties", "TOML"),
}


@pytest.mark.parametrize("wrong", BAD_JOBS)
def test_a_bad_job_gets_a_sentence(wrong: str, cli: Cli, tmp_path: Path) -> None:
    job, *words = BAD_JOBS[wrong]
    said = cli("check", write(tmp_path, job))
    assert said.code == 2
    assert all(word.lower() in said.err.lower() for word in words), said.err


def test_everything_wrong_is_said_at_once(cli: Cli, tmp_path: Path) -> None:
    bank = broken("bank", _set("y", 1))["bank"]
    telco = broken("telco", _set("calls", 7.0))["telco"]
    said = cli("check", write(tmp_path, bank=bank, telco=telco))
    assert said.code == 2
    assert "'y'" in said.err
    assert "'calls'" in said.err


def test_submit_on_nodes_gives_the_figures_of_simulate(cli: Cli, tmp_path: Path) -> None:
    job = write(tmp_path)
    assert cli("simulate", job, "--json", tmp_path / "here.json").code == 0
    said = cli("submit", job, "--local", "--json", tmp_path / "nodes.json")
    assert said.code == 0, said.err
    here, nodes = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("here", "nodes"))
    assert here["rows"] == nodes["rows"]
    assert here["bytes"] == nodes["bytes"]
    assert set(here) == set(nodes)
    assert set(here["seconds"]) == set(nodes["seconds"]) == {"align", "train", "evaluate", "total"}
    assert nodes["seconds"]["total"] > sum(nodes["seconds"][step] for step in ("align", "train", "evaluate"))
    for part, values in here["metrics"].items():
        # Truncation of shares is off by one unit at random, so two runs agree to about 2^-20.
        assert nodes["metrics"][part]["log_loss"] == pytest.approx(values["log_loss"], abs=1e-4)
        assert nodes["metrics"][part]["auc"] == pytest.approx(values["auc"], abs=1e-3)
    for model in ("alone", "pooled"):  # rows come in another order in each run, so sums differ in their last bits
        for part, values in here["baseline"][model].items():
            assert nodes["baseline"][model][part] == pytest.approx(values, abs=1e-6)


@pytest.mark.parametrize("wrong", ["missing id column", "one class", "constant"])
def test_bad_data_are_told_before_a_node_starts(wrong: str, cli: Cli, tmp_path: Path) -> None:
    changed, *words = BAD_DATA[wrong]
    said = cli("submit", write(tmp_path, **changed), "--local", "--json", tmp_path / "out.json")
    assert said.code == 2
    assert all(word in said.err for word in words), said.err
    assert "proposed" not in said.out
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("wrong", ["duplicate ids", "no overlap"])
def test_bad_data_on_nodes_get_the_same_sentence(wrong: str, cli: Cli, tmp_path: Path) -> None:
    changed, *words = BAD_DATA[wrong]
    job = write(tmp_path, JOB.replace(".csv", ""), **changed)
    with LocalFederation(tmp_path / "home", ("bank", "telco")) as federation:
        for name in ("bank", "telco"):
            source = tmp_path / f"{name}.csv"
            assert cli("data", "add", federation.folder(name), name, source).code == 0
        operator = tmp_path / "home" / "operators" / "operator"
        settings = (operator / "operator.toml").read_text().replace("127.0.0.1:0", federation.address)
        (operator / "operator.toml").write_text(settings)
        said = cli("submit", job, "--at", operator)
        assert said.code == 2
        assert all(word in said.err for word in words), said.err
        listed = cli("status", "--at", operator)
        assert "workers connected: bank, telco" in listed.out
        assert "refused" in listed.out
        unknown = cli("watch", "run-9", "--at", operator)
        assert unknown.code == 2
        assert "no run 'run-9'" in unknown.err


def test_a_federation_is_made_once_and_names_are_its_own(cli: Cli, tmp_path: Path) -> None:
    home = tmp_path / "home"
    twice = cli("init", home, "--worker", "bank", "--worker", "bank")
    assert twice.code == 2
    assert "a name of its own" in twice.err
    made = cli("init", home, "--worker", "bank", "--worker", "telco")
    assert made.code == 0
    assert f"synergos worker {home / 'workers' / 'telco'}" in made.out
    again = cli("init", home, "--worker", "shop")
    assert again.code == 2
    assert "overwrites nothing" in again.err


def test_identities_are_compared_and_trusted(cli: Cli, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert cli("init", tmp_path / name, "--worker", "bank").code == 0
    bank, other = (tmp_path / name / "workers" / "bank" for name in ("one", "two"))
    shown = cli("fingerprint", other).out.strip()
    assert cli("trust", bank, "telco", "nonsense").code == 2
    assert cli("trust", bank, "telco", shown).code == 0
    assert shown in (bank / "pins.toml").read_text()


def test_a_port_in_use_is_said(cli: Cli, tmp_path: Path) -> None:
    with LocalFederation(tmp_path / "one", ("bank",)) as federation:
        assert cli("init", tmp_path / "two", "--worker", "bank", "--listen", federation.address).code == 0
        said = subprocess.run(
            [sys.executable, "-m", "node.cli", "coordinator", str(tmp_path / "two" / "coordinator")],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert said.returncode == 2
        assert f"nothing can listen on {federation.address}" in said.stderr
        stranger = subprocess.run(  # the other federation's worker at this one's coordinator
            [sys.executable, "-m", "node.cli", "worker", str(tmp_path / "two" / "workers" / "bank")],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert stranger.returncode == 2
        assert "is not the coordinator of this folder's federation" in stranger.stderr
        asked = cli("submit", write(tmp_path), "--at", tmp_path / "two" / "operators" / "operator")
        assert asked.code == 2
        assert "is not the coordinator of this folder's federation" in asked.err


def test_nobody_at_the_address_is_said(cli: Cli, tmp_path: Path) -> None:
    assert cli("init", tmp_path / "home", "--worker", "bank", "--listen", "127.0.0.1:9").code == 0
    operator = tmp_path / "home" / "operators" / "operator"
    said = cli("status", "--at", operator)
    assert said.code == 1
    assert "nothing answers at 127.0.0.1:9; is it running" in said.err
    asked = cli("ledger", "run-1", "--at", operator, "--json", tmp_path / "no such folder" / "x.json")
    assert asked.code == 2
    assert "cannot be written" in asked.err, "before anybody is asked"


def test_the_demo_trains_on_files_of_ones_own(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path)
    files = ("--label-holder", tmp_path / "bank.csv", "--feature-holder", tmp_path / "telco.csv")
    incomplete = cli("demo", *files)
    assert incomplete.code == 2
    assert "--id and --label" in incomplete.err
    said = cli("demo", *files, "--id", "client", "--label", "y", "--json", tmp_path / "own.json")
    assert said.code == 0, said.err
    assert json.loads((tmp_path / "own.json").read_text())["rows"]["aligned"] == 300


@pytest.mark.parametrize("where", ["simulate", "submit"])
def test_predictions_are_kept_where_asked(where: str, cli: Cli, tmp_path: Path) -> None:
    whole = tables()
    new = whole["bank"].drop(columns="y")[150:160]
    new.to_csv(tmp_path / "new_bank.csv", index=False)
    whole["telco"][:200].to_csv(tmp_path / "new_telco.csv", index=False)
    job = JOB.replace('label = "y"', 'label = "y"\npredict = "new_bank.csv"')
    job = job.replace("[align]", 'predict = "new_telco.csv"\n[align]')
    said = cli(where, write(tmp_path, job), *(["--local"] if where == "submit" else []), "--out", tmp_path / "kept")
    assert said.code == 0, said.err
    scores = pd.read_csv(tmp_path / "kept" / "bank" / "scores.csv")
    assert sorted(scores["client"]) == sorted(new["client"])
    assert scores["score"].between(0, 1).all()
    kept = {path.relative_to(tmp_path / "kept").as_posix() for path in (tmp_path / "kept").rglob("*.json")}
    assert {"bank/model.json", "bank/report.json", "telco/model.json", "telco/report.json"} <= kept
    assert not (tmp_path / "kept" / "telco" / "scores.csv").exists(), "only the label holder learns scores"
