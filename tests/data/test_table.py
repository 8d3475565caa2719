import hashlib

import numpy as np
import pandas as pd
import pytest

from engine.data import read_table
from engine.errors import Misuse


@pytest.fixture
def table():
    frame = pd.DataFrame({"id": [f"SECRET{i}" for i in range(500)], "x": range(500), "c": ["u", None] * 250, "y": 0.5})
    return read_table(frame, party="bank", id="id", label="y")


def test_take_by_position_and_by_mask(table):
    rows = np.array([3, 1])
    taken = table.take(rows)
    assert taken.ids.tolist() == ["SECRET3", "SECRET1"]
    assert taken.columns[0].values.tolist() == [3, 1]
    assert taken.columns[1].values.tolist() == [None, None]
    assert taken.label.shape == (2,)
    assert len(table.take(np.arange(500) < 7)) == 7


def test_split_follows_its_definition(table):
    train, held_out = table.split(0.2, seed=7)
    expected = [
        text
        for text in table.ids
        if int.from_bytes(hashlib.sha256(f"synergos-split-1:7:{text}".encode()).digest()[:8]) / 2**64 < 0.2
    ]
    assert held_out.ids.tolist() == expected
    assert len(train) + len(held_out) == 500
    assert 60 < len(held_out) < 140


def test_split_is_the_same_on_every_side(table):
    order = np.random.default_rng(1).permutation(500)[:300]
    other = table.take(order)
    here, there = table.split(0.3, 1)[1].ids, other.split(0.3, 1)[1].ids
    assert set(there) == set(here) & set(other.ids)
    assert set(here) != set(table.split(0.3, 2)[1].ids)


def test_split_reads_ids_as_matching_does():
    frames = [pd.DataFrame({"a": [f"{i}é" + tail for i in range(40)], "b": "k", "x": 1}) for tail in ("", " ")]
    frames[1]["a"] = frames[1]["a"].str.normalize("NFD")
    one, other = (read_table(frame, party="p", id=["a", "b"]).split(0.5, 0)[0] for frame in frames)
    assert one.keys[0].tolist() == [text.strip().replace("e\u0301", "é") for text in other.keys[0]]


def test_split_refuses_what_leaves_nothing(table):
    for fraction in (0, 1, -1, float("nan")):
        with pytest.raises(Misuse, match="between 0 and 1"):
            table.split(fraction, 0)
    sides = set()
    for row in range(8):
        with pytest.raises(Misuse, match="bank, data frame: the split of 1 rows leaves none to") as told:
            table.take(np.array([row])).split(0.5, 0)
        sides.add(str(told.value).split("none to ")[1].split(" on")[0])
    assert sides == {"train", "evaluate"}


def test_schema_and_repr_have_no_values(table):
    assert table.schema() == {
        "party": "bank",
        "source": "data frame",
        "rows": 500,
        "id": ["id"],
        "label": "y",
        "columns": [
            {"name": "x", "kind": "numeric", "missing": 0},
            {"name": "c", "kind": "categorical", "missing": 250},
        ],
    }
    assert repr(table) == "Table(bank, data frame: 500 rows, 2 columns, label 'y')"
    assert repr(table.columns) == "(Column('x', numeric, 500 rows), Column('c', categorical, 500 rows))"
