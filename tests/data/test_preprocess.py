import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from engine.data import Fitted, Preprocessor, evaluate, read_table
from engine.errors import Misuse


def table(columns, training=False, **options):
    frame = pd.DataFrame(columns)
    frame["id"] = [str(i) for i in range(len(frame))]
    return read_table(frame, party="telco", id="id", training=training, **options)


TRAIN = {"age": [20.0, 40, np.nan, 60], "job": ["b", "a", None, "b"], "vip": [True, False, True, True]}


def test_features_by_hand():
    fitted = Preprocessor().fit(table(TRAIN))
    features = fitted.transform(table(TRAIN))
    assert features.names == fitted.names == ("age", "job=a", "job=b", "vip=False", "vip=True")
    assert features.originals == ("age", "job", "job", "vip", "vip")
    deviation = np.sqrt(800 / 3)
    np.testing.assert_allclose(features.values[:, 0], [-20 / deviation, 0, 0, 20 / deviation])
    np.testing.assert_array_equal(features.values[:, 1:3], [[0, 1], [1, 0], [0, 0], [0, 1]])
    np.testing.assert_array_equal(features.values[:, 4], [1, 0, 1, 1])
    assert features.unseen == {}


def test_options():
    fitted = Preprocessor(standardise=False, indicate_missing=True).fit(table(TRAIN))
    features = fitted.transform(table(TRAIN))
    assert features.names[:2] == ("age", "age=missing")
    np.testing.assert_array_equal(features.values[:, :2], [[20, 0], [40, 0], [40, 1], [60, 0]])


@pytest.mark.parametrize(
    ("column", "names", "values", "unseen"),
    [
        ("aabc", ("a", "(rare)"), [[1, 0], [1, 0], [0, 1], [0, 1]], 0),
        ("aaab", ("a",), [[1], [1], [1], [0]], 1),  # one row is too few even for a pool
        ("a-b-", ("(rare)",), [[1], [0], [1], [0]], 0),
        ("aab-", ("a",), [[1], [1], [0], [0]], 1),
    ],
)
def test_rare_levels_share_a_feature_of_enough_rows(column, names, values, unseen):
    data = table({"c": [None if level == "-" else level for level in column]})
    fitted = Preprocessor(min_frequency=2).fit(data)
    features = fitted.transform(data)
    assert features.names == tuple(f"c={name}" for name in names)
    np.testing.assert_array_equal(features.values, values)
    assert features.unseen.get("c", 0) == unseen


def test_what_train_did_not_see():
    fitted = Preprocessor().fit(table(TRAIN))
    other = {"vip": [None, True], "new": [1, 2], "job": ["c", "a"], "age": [np.nan, 40.0]}
    features = fitted.transform(table(other))
    np.testing.assert_array_equal(features.values, [[0, 0, 0, 0, 0], [0, 1, 0, 0, 1]])
    assert features.unseen == {"job": 1}


def test_one_row_and_columns_without_values():
    fitted = Preprocessor().fit(table(TRAIN))
    row = fitted.transform(table({"age": [None], "job": [np.nan], "vip": [True]})).values
    np.testing.assert_array_equal(row, [[0, 0, 0, 0, 1]])


def test_number_codes_serve_where_train_had_texts():
    fitted = Preprocessor().fit(table({"code": ["1", "2", "A"]}))
    np.testing.assert_array_equal(fitted.transform(table({"code": [2.0, np.nan]})).values, [[0, 1, 0], [0, 0, 0]])


def test_json_round_trip():
    fitted = Preprocessor(indicate_missing=True, min_frequency=2).fit(table(TRAIN))
    again = Fitted.from_json(json.loads(json.dumps(fitted.to_json())))
    assert again == fitted


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 2},
        {"columns": 3},
        {"columns": [{"kind": "other"}]},
        {"columns": [{"kind": "numeric", "name": "x", "mean": 0, "shift": 0, "scale": 0, "indicator": False}]},
        {"columns": [{"kind": "numeric", "name": "x", "mean": float("nan"), "shift": 0, "scale": 1, "indicator": 0}]},
        {"columns": [{"kind": "categorical", "name": "x", "levels": 1, "rare": []}]},
    ],
)
def test_damaged_json_is_told(damage):
    with pytest.raises(Misuse, match=r"model file is damaged|another version"):
        Fitted.from_json(Preprocessor().fit(table(TRAIN)).to_json() | damage)


@pytest.mark.parametrize(
    ("column", "options", "part"),
    [
        ([3.5] * 4, {}, "has one value only in the train rows"),
        ([0.1, 0.1, np.nan, 0.1], {}, "has one value only in the train rows"),
        (["u"] * 4, {}, "has one value only in the train rows"),
        ([np.nan] * 4, {}, "has no value in any train row"),
        ([1, 2, 3, 1e200], {}, "holds numbers beyond 1e+150"),
        (list("abcd"), {"max_levels": 3}, "has 4 different texts, more than 3"),
        (list("abcd"), {"min_frequency": 2}, "has no text on 2 train rows or more"),
        (["a", None, None, None], {"min_frequency": 2}, "has no text on 2 train rows or more"),
    ],
)
def test_columns_that_cannot_be_learnt_from_are_told(column, options, part):
    with pytest.raises(Misuse) as told:
        Preprocessor(**options).fit(table({"x": column, "y": [1, 2, 3, 4]}))
    assert str(told.value).startswith(f"telco, data frame: column 'x' {part}")
    assert "exclude" in str(told.value)


def test_all_wrong_columns_are_told_at_once():
    with pytest.raises(Misuse) as told:
        Preprocessor().fit(table({"x": [1, 1], "y": ["a", "a"], "z": ["a", "b"], "z=a": [1, 2]}))
    assert [line.split("'")[1] for line in str(told.value).splitlines()] == ["x", "y", "z=a"]


def test_tables_that_do_not_fit_the_model_are_told():
    fitted = Preprocessor().fit(table(TRAIN))
    with pytest.raises(Misuse) as told:
        fitted.transform(table({"Age": [1.0], "job": ["a"]}))
    assert str(told.value).splitlines() == [
        "telco, data frame: it has no column 'age', which the model was trained with; did you mean 'Age'?",
        "telco, data frame: it has no column 'vip', which the model was trained with; there are: Age, job",
    ]
    with pytest.raises(Misuse, match="column 'age' holds text but held numbers in training"):
        fitted.transform(table(TRAIN | {"age": ["young", "1", "2", "3"]}))


@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=30), st.floats(-1e6, 1e6))
def test_standardising_equals_scikit_learn(values, scale):
    values = [value * scale for value in values]
    if np.std(values) <= 1e-9 * np.max(np.abs(values)):
        return  # scikit-learn takes such columns for constant
    ours = Preprocessor().fit(table({"x": values})).transform(table({"x": values})).values
    np.testing.assert_allclose(ours, StandardScaler().fit_transform(np.array(values)[:, None]), atol=1e-6)


def test_tiny_spreads_do_not_vanish():
    values = Preprocessor().fit(table({"x": [1e-300, 3e-300]})).transform(table({"x": [1e-300, 3e-300]})).values
    np.testing.assert_allclose(values[:, 0], [-1, 1])


def test_real_columns_give_the_known_baseline(data_sets):
    """Both parties' features, joined in plaintext, give the figures that baselines.json has for the same rows."""
    known = json.loads((data_sets / "baselines.json").read_text())["baselines"]["telco_churn"]["centralised"]["linear"]
    folder = data_sets / "telco_churn"
    guest = read_table(str(folder / "guest.csv"), party="guest", id="customerID", label="Churn")
    host = read_table(str(folder / "host.csv"), party="host", id="customerID")
    shared = sorted(set(guest.ids) & set(host.ids))
    held_out = np.array(
        [int.from_bytes(hashlib.sha256(f"fl-split-1:{text}".encode()).digest()[:8]) % 5 == 0 for text in shared]
    )
    sides = [party.take(pd.Series(range(len(party)), index=party.ids)[shared].to_numpy()) for party in (guest, host)]
    y, train, test = sides[0].label, [], []
    for aligned in sides:
        fitted = Preprocessor().fit(aligned.take(~held_out))
        train.append(fitted.transform(aligned.take(~held_out)).values)
        test.append(fitted.transform(aligned.take(held_out)).values)
    scaler = StandardScaler().fit(np.hstack(train))
    model = LogisticRegression(max_iter=5000).fit(scaler.transform(np.hstack(train)), y[~held_out])
    score = model.predict_proba(scaler.transform(np.hstack(test)))[:, 1]
    ours = evaluate(["auc", "log_loss", "accuracy"], y[held_out], score)
    expected = [known["test"][name] for name in ("auc", "logloss", "accuracy")]
    np.testing.assert_allclose(list(ours.values()), expected, atol=1e-4)


def test_one_hot_equals_scikit_learn():
    rng = np.random.default_rng(3)
    train, test = (rng.choice(list("abcdef")[:k], 200).tolist() for k in (5, 6))
    ours = Preprocessor().fit(table({"c": train})).transform(table({"c": test}))
    theirs = OneHotEncoder(handle_unknown="ignore").fit(np.array(train)[:, None])
    np.testing.assert_array_equal(ours.values, theirs.transform(np.array(test)[:, None]).toarray())
    assert ours.unseen == {"c": test.count("f")}
