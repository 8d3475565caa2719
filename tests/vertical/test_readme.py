"""The costs that the README states are what a training does: operations counted by the scheme, bytes by the ledger."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import he
from engine.he.encoding import SLOTS, Layout, layout
from engine.runtime.party import Party
from engine.vertical.glm import MESSAGES, GlmPart, LogisticRegression

README = Path(__file__).parents[2] / "engine" / "vertical" / "README.md"
ENCRYPTION, ANSWER = 196_672, 131_072
LINK_TERMS, REACH_TERMS, LOSS_TERMS = 10, 16, 11
ROWS, ITERATIONS, LOOKS = 9000, 2, 1


def blocks(rows: int) -> int:
    return -(-rows // SLOTS)


def asked(columns: list[int], rows: int) -> list[Layout]:
    """The layout of each block of features that is asked for: once of A and of H, twice of any other."""
    return [layout(rows, count) for at, count in enumerate(columns) for _ in range(1 if at < 2 else 2)]


def operations(columns: list[int], rows: int, iterations: int, looks: int) -> dict[str, int]:
    pairs, b = asked(columns, rows), blocks(rows)
    r, c = sum(at.row_tiles for at in pairs), sum(at.column_tiles for at in pairs)
    rc = sum(at.row_tiles * at.column_tiles for at in pairs)
    terms = iterations * LINK_TERMS + looks * (REACH_TERMS + LOSS_TERMS)
    outputs = iterations * (2 * (r + c) + 2 * b) + looks * (2 * r + 4 * b)
    return {
        "encryptions": iterations * 2 * (r + c) + looks * 2 * c + 2 * terms * b,
        "products": (2 * iterations + looks) * 2 * rc + 2 * terms * b,
        "outputs": outputs,
        "decryptions": outputs,
    }


def volume(columns: list[int], rows: int, iterations: int, looks: int) -> dict[str, int]:
    """Bytes of each message class, everybody's together; 64 bytes of header a message."""
    pairs, b = asked(columns, rows), blocks(rows)
    forwards, others = iterations + looks, columns[2:]
    waves = iterations * LINK_TERMS + looks * (REACH_TERMS + LOSS_TERMS)
    corrections = (forwards * rows + iterations * count for count in others)
    return {
        "Weights": forwards * sum(64 + 2 * at.column_tiles * ENCRYPTION for at in pairs),
        "Scores": forwards * sum(64 + 2 * at.row_tiles * (ANSWER + 16 * at.height) for at in pairs),
        "Waves": waves * (64 + 2 * b * ENCRYPTION),
        "Link": (iterations + 2 * looks) * (64 + 2 * b * (ANSWER + 16 * SLOTS)),
        "Residuals": iterations * sum(64 + 2 * at.row_tiles * ENCRYPTION for at in pairs),
        "Gradients": iterations * sum(64 + 2 * at.column_tiles * (ANSWER + 16 * at.width) for at in pairs),
        "Correction": sum(64 * (forwards + iterations) + 16 * values for values in corrections),
        "Opening": looks * 2 * 2 * (64 + 16),
    }


def train(play: Any, data: Any, **options: Any) -> dict[str, tuple[GlmPart, Any]]:
    estimator = LogisticRegression(**{"max_iter": ITERATIONS, "check_every": ITERATIONS, **options})

    def role(party: Party) -> Any:
        return estimator.fit(party, data.of(party.name), data.label(party.name)), party.ledger

    return dict(play(dict.fromkeys(data.names, role), MESSAGES))


def test_readme_blocks_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, int]]:
    """Return a function that gives the operations of all scheme objects made since."""
    made: list[Any] = []
    make = he.scheme

    def noting(name: str) -> Any:
        made.append(make(name))
        return made[-1]

    monkeypatch.setattr(he, "scheme", noting)
    return lambda: dict(sum((Counter(vars(scheme.counts)) for scheme in made), Counter()))


@pytest.mark.parametrize("columns", [(3, 4), (2, 3, 2), (40, 70), (1, 2, 3, 30)])
def test_operations_are_the_formulas_of_the_readme(play: Any, joint: Any, counted: Any, columns: Any) -> None:
    data = joint(rows=ROWS, columns=columns)
    train(play, data, scheme="clear")
    with_intercept = [columns[0] + 1, *columns[1:]]
    assert counted() == operations(with_intercept, ROWS, ITERATIONS, LOOKS)


@pytest.mark.parametrize("columns", [(3, 4), (2, 3, 2)])
def test_bytes_are_the_formulas_of_the_readme(play: Any, joint: Any, counted: Any, columns: Any) -> None:
    data = joint(rows=ROWS, columns=columns)
    parts = train(play, data, scheme="rlwe")
    sent: Counter[str] = Counter()
    for name, (_, ledger) in parts.items():
        for entry in ledger.entries():
            if entry.sender == name:
                sent[entry.message.split(".")[-1]] += entry.bytes
    with_intercept = [columns[0] + 1, *columns[1:]]
    stated = volume(with_intercept, ROWS, ITERATIONS, LOOKS)
    assert {kind: sent[kind] for kind in stated} == stated
    rest = sum(sent.values()) - sum(stated.values())
    assert 0 < rest < 600_000 * len(columns)  # set-up: sizes and two keys, to each peer
    assert counted() == operations(with_intercept, ROWS, ITERATIONS, LOOKS)


@pytest.mark.parametrize("columns", [(3, 4), (2, 3, 2)])
def test_prediction_on_shares_costs_what_the_readme_says(play: Any, joint: Any, counted: Any, columns: Any) -> None:
    data = joint(rows=ROWS, columns=columns)
    parts = {name: part for name, (part, _) in train(play, data, scheme="clear", release="none").items()}
    before = counted()
    play({n: lambda p: parts[p.name].decision_function(p, data.of(p.name)) for n in data.names}, MESSAGES)
    pairs = asked([columns[0] + 1, *columns[1:]], ROWS)
    r, c = sum(at.row_tiles for at in pairs), sum(at.column_tiles for at in pairs)
    rc = sum(at.row_tiles * at.column_tiles for at in pairs)
    stated = {"encryptions": 2 * c, "products": 2 * rc, "outputs": 2 * r, "decryptions": 2 * r}
    assert {name: count - before[name] for name, count in counted().items()} == stated


@pytest.mark.parametrize("columns", [(3, 4), (2, 3, 2)])
def test_scoring_costs_eight_bytes_a_row_where_weights_are_released(play: Any, joint: Any, columns: Any) -> None:
    data = joint(rows=500, columns=columns)
    parts = {name: part for name, (part, _) in train(play, data, scheme="clear").items()}

    def role(party: Party) -> Any:
        parts[party.name].decision_function(party, data.of(party.name))
        return party.ledger.entries()

    seen = play(dict.fromkeys(data.names, role), MESSAGES)[data.names[0]]
    holders = len(columns) - 1
    kind = "PartialScores" if holders == 1 else "MaskedScores"
    assert [e.bytes for e in seen if e.message.endswith(kind)] == [64 + 8 * 500] * holders
