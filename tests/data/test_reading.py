"""Files and frames to tables; every bad input gets one sentence that names party, file and column."""

import gzip
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from engine.data import problems, read_table, require_binary_label
from engine.errors import Misuse

GOOD = "client,y,age,job,vip\n7,0,40,clerk,True\n8,1,,NA,False\n9,0,31.5, clerk ,\n"


def column(table, name):
    return next(c for c in table.columns if c.name == name)


def test_kinds_missing_values_and_label(write):
    table = read_table(write(GOOD), party="bank", id="client", label="y")
    assert table.ids.tolist() == ["7", "8", "9"]
    assert table.label.tolist() == [0.0, 1.0, 0.0]
    assert table.column_names == ("age", "job", "vip")
    assert column(table, "age").kind == "numeric"
    np.testing.assert_array_equal(column(table, "age").values, [40, np.nan, 31.5])
    assert column(table, "job").values.tolist() == ["clerk", None, "clerk"]
    assert column(table, "vip").values.tolist() == ["True", "False", None]
    assert column(table, "job").missing.tolist() == [False, True, False]


def same(left, right):
    assert left.column_names == right.column_names
    for one, other in zip([*left.keys], [*right.keys], strict=True):
        assert one.tolist() == other.tolist()
    for one, other in zip(left.columns, right.columns, strict=True):
        assert one.kind == other.kind
        np.testing.assert_array_equal(one.values, other.values)


def test_every_format_gives_the_same_table(write, tmp_path):
    plain = read_table(write(GOOD), party="bank", id="client", label="y")
    frame = pd.read_csv(write(GOOD))
    frame.to_parquet(tmp_path / "t.parquet")
    options = {"party": "bank", "id": "client", "label": "y"}
    same(plain, read_table(str(tmp_path / "t.parquet"), **options))
    same(plain, read_table(frame, **options))
    same(plain, read_table(frame.set_index("client"), **options))
    same(plain, read_table(frame.convert_dtypes(), **options))
    same(plain, read_table(write(gzip.compress(GOOD.encode()), "t.csv.gz"), **options))
    same(plain, read_table(write(GOOD.replace(",", "\t"), "t.tsv"), **options))
    same(plain, read_table("file://" + write("\ufeff" + GOOD, "bom.csv"), **options))


@pytest.mark.parametrize("ids", [["133", "007", " a", "ä"], [133, 7, 2**60, 0], [133.0, 7.0, 1.5, 2.0]])
def test_ids_are_text_without_artefacts(ids, tmp_path):
    expected = [str(int(v)) if isinstance(v, float) and v != 1.5 else str(v) for v in ids]
    frame = pd.DataFrame({"id": ids, "x": range(4)})
    assert read_table(frame, party="p", id="id").ids.tolist() == expected
    frame.to_parquet(tmp_path / "t.parquet")
    assert read_table(str(tmp_path / "t.parquet"), party="p", id="id").ids.tolist() == expected
    frame.assign(id=expected).to_csv(tmp_path / "t.csv", index=False)
    assert read_table(str(tmp_path / "t.csv"), party="p", id="id").ids.tolist() == expected


def test_several_keys_identify_a_row_together(write):
    path = write("name,born,x\nann,1990,1\nann,1991,2\n")
    table = read_table(path, party="p", id=["name", "born"])
    assert [key.tolist() for key in table.keys] == [["ann", "ann"], ["1990", "1991"]]
    assert table.ids.tolist() == ["ann\x1f1990", "ann\x1f1991"]
    assert "not unique" in problems(path, party="p", id="name")[0]


def test_numeric_codes_as_categories_agree_across_files(write):
    for codes in ("1,2,3", "1.0,2.0,3.0", "1.0,2,3"):
        text = "id,c\n" + "".join(f"{i},{code}\n" for i, code in enumerate(codes.split(",")))
        table = read_table(write(text), party="p", id="id", categorical=["c"])
        assert table.columns[0].values.tolist() == ["1", "2", "3"]
    frame = pd.DataFrame({"id": [1, 2, 3], "c": [1.0, np.nan, 2.5]})
    assert read_table(frame, party="p", id="id", categorical=["c"]).columns[0].values.tolist() == ["1", None, "2.5"]


def test_text_with_blanks_that_reads_as_numbers_is_numeric(write):
    table = read_table(write("id,charges\n1,10.5\n2, \n3,7\n"), party="p", id="id")
    np.testing.assert_array_equal(table.columns[0].values, [10.5, np.nan, 7])
    decimals = pd.DataFrame({"id": [1, 2], "d": pd.Series([Decimal("1.5"), None], dtype=object)})
    np.testing.assert_array_equal(read_table(decimals, party="p", id="id").columns[0].values, [1.5, np.nan])


def test_columns_and_exclude_choose(write):
    path = write(GOOD)
    assert read_table(path, party="p", id="client", exclude=["y", "age"]).column_names == ("job", "vip")
    assert read_table(path, party="p", id="client", columns=["vip", "age"]).column_names == ("age", "vip")


def test_a_label_only_party_needs_no_columns(write):
    table = read_table(write("id,y\n1,0\n2,1\n"), party="p", id="id", label="y")
    assert table.columns == ()


def test_a_table_that_is_not_for_training_may_lack_values(write):
    path = write("id,x,y\n1,,\n")
    assert len(problems(path, party="p", id="id")) == 2
    table = read_table(path, party="p", id="id", training=False)
    assert np.isnan(table.columns[0].values).all()


OPTIONS = {"party": "bank", "id": "client", "label": "y"}

BAD = [
    ("id_missing", GOOD, {"id": "clinet"}, ["no column 'clinet' for the id", "did you mean 'client'?"]),
    ("label_missing", GOOD, {"label": "yy"}, ["no column 'yy' for the label", "did you mean 'y'?"]),
    ("label_is_id", GOOD, {"label": "client"}, ["'client' is both id and label"]),
    ("columns_unknown", GOOD, {"columns": ["agee"]}, ["'agee', which `columns` names", "did you mean 'age'?"]),
    ("exclude_unknown", GOOD, {"exclude": ["Jobs"]}, ["'Jobs', which `exclude` names", "did you mean 'job'?"]),
    ("categorical_unknown", GOOD, {"categorical": ["zzz"]}, ["`categorical` names", "there are: age, job, vip"]),
    ("label_listed", GOOD, {"columns": ["y", "age"]}, ["'y' is the id or the label; take it out of `columns`"]),
    (
        "ids_missing",
        "client,y,x\n1,0,1\n,1,2\n NA,1,3\n",
        {},
        ["'client', the id, is missing in 2 rows (first: row 2)"],
    ),
    (
        "ids_twice",
        "client,y,x\nS1,0,1\nS2,1,2\nS1,1,3\nS1,1,3\n",
        {},
        ["id in 'client' is not unique", "2 rows repeat an earlier one, first rows 1 and 3", "keep one row"],
    ),
    ("all_missing", "client,y,x\n1,0,\n2,1,NA\n", {}, ["column 'x' has no value in any row; exclude it"]),
    ("all_blank", "client,y,x\n1,0, \n2,1,  \n", {}, ["column 'x' has no value in any row; exclude it"]),
    ("infinite", "client,y,x\n1,0,1\n2,1,inf\n", {}, ["column 'x' is infinite in row 2"]),
    ("label_text", "client,y,x\n1,yes,1\n2,no,2\n", {}, ["'y', the label, holds text", "0 and 1"]),
    ("label_gap", "client,y,x\n1,,1\n2,1,2\n", {}, ["'y', the label, is missing in row 1"]),
    ("no_rows", "client,y,x\n", {}, ["no rows"]),
    ("empty", "", {}, ["the file is empty"]),
    ("nothing_to_learn", "client\n1\n", {"label": None}, ["neither a label nor a column"]),
    ("column_twice", "client,y,x,x\n1,0,1,2\n", {}, ["more than one column is called 'x'"]),
    ("semicolons", "client;y;x\n1;0;1\n", {}, ["separated by ';'"]),
    ("ragged", "client,y,x\n1,0,1\n2,1,2,3\n", {}, ["Expected 3 fields in line 3, saw 4"]),
    ("surplus", "client,y,x\n0,0,1,4\n1,1,2,3\n", {}, ["Expected 3 fields in line 2, saw 4"]),
    ("not_utf8", "client,y,x\n1,0,é\n".encode("latin-1"), {}, ["not UTF-8"]),
]


@pytest.mark.parametrize(("text", "changes", "parts"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input_is_told(write, text, changes, parts):
    with pytest.raises(Misuse) as told:
        read_table(write(text), **(OPTIONS | changes))
    lines = str(told.value).splitlines()
    assert all(line.startswith("bank, train.csv: ") for line in lines)
    for part in parts:
        assert part in str(told.value)
    assert "S1" not in str(told.value)  # no identifier is ever said


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("train.xlsx", b"", "end it in .csv"),
        ("train.parquet", b"no parquet", "cannot be read (Arrow"),
        ("train.csv.gz", b"no gzip", "cannot be read (BadGzipFile)"),
        ("train.csv.gz", gzip.compress(GOOD.encode() * 99)[:50], "cannot be read (EOFError)"),
    ],
)
def test_wrong_formats_are_told(write, name, content, part):
    (told,) = problems(write(content, name), **OPTIONS)
    assert told.startswith(f"bank, {name}: ")
    assert part in told


def test_a_missing_file_is_told(tmp_path):
    (told,) = problems(str(tmp_path / "nowhere.csv"), **OPTIONS)
    assert told == f"bank, nowhere.csv: there is no file at {tmp_path / 'nowhere.csv'}; correct the path"


def test_no_secret_of_an_address_is_told():
    (told,) = problems("memory://user:hunter2@host/t.csv?token=hunter2", **OPTIONS)
    assert "hunter2" not in told
    assert "memory://host/t.csv" in told
    (told,) = problems("nosuch://user:hunter2@host/t.csv?token=hunter2", **OPTIONS)
    assert "hunter2" not in told


def test_a_file_that_may_not_be_read_and_a_package_that_is_not_there(monkeypatch, write):
    import fsspec

    path = write(GOOD)
    for error, part in ((PermissionError(), "may not be read"), (ImportError("Install s3fs"), "Install s3fs")):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(fsspec, "open", fail)
        assert part in problems(path, **OPTIONS)[0]


@pytest.mark.parametrize(
    ("values", "part"),
    [
        (pd.to_datetime(["2020-01-01", "2021-01-01"]), "holds datetime64 values"),
        ([[1], [2]], "holds mixed values"),
        (["a", 1], "holds mixed-integer values"),
        ([b"a", b"b"], "holds bytes values"),
    ],
)
def test_values_that_are_neither_numbers_nor_text_are_told(values, part):
    frame = pd.DataFrame({"client": [1, 2], "y": [0, 1], "x": values})
    (told,) = problems(frame, **OPTIONS)
    assert told.startswith("bank, data frame: column 'x' " + part)


def test_frames_that_are_none():
    assert "neither a path nor a pandas data frame" in problems({"a": [1]}, **OPTIONS)[0]
    twice = pd.DataFrame([[1, 0, 2, 3]], columns=["client", "y", "x", "x"])
    assert "more than one column is called 'x'" in problems(twice, **OPTIONS)[0]


def test_all_problems_are_told_at_once(write):
    path = write("client,y,x,z,inf\n1,0,,1,inf\n1,,,2,1\n")
    told = problems(path, **(OPTIONS | {"exclude": ["Z"]}))
    assert [line.split(": ", 1)[1][:30] for line in told] == [
        "it has no column 'Z', which `e",
        "the id in 'client' is not uniq",
        "column 'x' has no value in any",
        "column 'inf' is infinite in ro",
        "column 'y', the label, is miss",
    ]


@pytest.mark.parametrize(
    ("label", "part"),
    [("0 0 0", "one class only"), ("0 1 2", "3 different values"), ("-1 1 1", "a classifier needs 0 and 1")],
)
def test_a_classifier_needs_two_classes(write, label, part):
    text = "client,y\n" + "".join(f"{i},{value}\n" for i, value in enumerate(label.split()))
    table = read_table(write(text), **OPTIONS)
    with pytest.raises(Misuse, match=f"bank, train.csv: .*'y'.*{part}"):
        require_binary_label(table)


def test_a_binary_label_passes_also_as_booleans(write):
    require_binary_label(read_table(write("client,y\n1,True\n2,False\n"), **OPTIONS))
    with pytest.raises(Misuse, match="this party has no label"):
        require_binary_label(read_table(write(GOOD), party="bank", id="client"))
    frame = pd.DataFrame({"client": [1, 2], "y": pd.array([True, None], dtype="boolean")})
    assert "is missing in row 2" in problems(frame, **OPTIONS)[0]


def test_real_files(data_sets):
    table = read_table(str(data_sets / "telco_churn" / "host.csv"), party="bank", id="customerID")
    assert len(table) == 6726
    kinds = {c.name: (c.kind, int(c.missing.sum())) for c in table.columns}
    assert kinds["TotalCharges"][0] == "numeric"
    assert kinds["TotalCharges"][1] > 0
    assert kinds["Contract"] == ("categorical", 0)
