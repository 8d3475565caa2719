"""Jobs in TOML and JSON; everything wrong in them is told at once, by table and key."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import Misuse
from engine.jobfile import Job, load, parse

TEXT = """
collaboration = "bank-telco"
project = "joint-risk"
experiment = "term-deposit"
kind = "vertical"
seed = 42
[parties.telco]
train = "telco_train.csv.gz"
evaluate = "s3://bucket/telco_test.csv.gz"
id = "client_id"
exclude = ["duration"]
acknowledge = ["histograms"]
[parties.bank]
train = "bank_train.csv.gz"
evaluate = "/data/bank_test.csv.gz"
id = ["client_id"]
label = "y"
[align]
protocol = "ecdh"
min_intersection = 50
[model]
name = "logistic_regression"
protocol = "shared"
l2 = 1.0
layers = [8, 4]
[evaluate]
metrics = ["auc", "ks", "log_loss"]
baseline = true
"""

SHORT = """
[parties.a]
train = "a.csv"
id = "id"
label = "y"
[parties.b]
train = "b.csv"
id = "id"
[model]
name = "m"
"""

HORIZONTAL = """
kind = "horizontal"
[parties.a]
train = "a.csv"
id = "id"
label = "y"
[parties.b]
train = "b.csv"
id = "id"
label = "y"
[model]
name = "m"
[aggregate]
strategy = "fedavg"
rounds = 20
local_epochs = 1
secure = "lean"
aggregator = "a"
[privacy]
mechanism = "distributed"
epsilon = 4
delta = 1e-5
"""


def parameters_of(name):
    if name != "logistic_regression":
        raise Misuse(f"there is no model '{name}'")
    return {"l2": 1.0, "max_iter": 100, "fit_intercept": True, "penalty": "l2", "layers": None}


def problems(text, **options):
    with pytest.raises(Misuse) as told:
        parse(text, None, **options)
    return str(told.value).splitlines()


def test_the_job_of_the_design():
    job = parse(TEXT, Path("/jobs"), parameters_of)
    assert (job.collaboration, job.project, job.experiment, job.seed) == (
        "bank-telco",
        "joint-risk",
        "term-deposit",
        42,
    )
    assert job.label_holder == "bank"
    assert job.order == ("bank", "telco")
    assert list(job.parties) == ["telco", "bank"]
    telco, bank = job.parties["telco"], job.parties["bank"]
    assert telco.train == "/jobs/telco_train.csv.gz"
    assert telco.evaluate == "s3://bucket/telco_test.csv.gz"
    assert bank.evaluate == "/data/bank_test.csv.gz"
    assert bank.id == telco.id == ("client_id",)
    assert (telco.exclude, telco.columns, telco.acknowledge) == (("duration",), None, ("histograms",))
    assert (job.align.protocol, job.align.min_intersection) == ("ecdh", 50)
    assert (job.model.name, job.model.protocol) == ("logistic_regression", "shared")
    assert job.model.parameters == {"l2": 1.0, "layers": (8, 4)}
    assert (job.evaluate.metrics, job.evaluate.baseline) == (("auc", "ks", "log_loss"), True)


def test_defaults():
    job = parse(SHORT, None)
    assert (job.collaboration, job.project, job.experiment, job.kind, job.seed) == ("default",) * 3 + ("vertical", 0)
    assert (job.align.protocol, job.align.min_intersection) == ("ecdh", 100)
    assert (job.evaluate.metrics, job.evaluate.baseline, job.evaluate_fraction) == ((), False, None)
    assert job.parties["a"].train == "a.csv"
    assert job.model.protocol is None


def test_load_resolves_files_and_leaves_names(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text(SHORT)
    assert load(path).parties["a"].train == str(tmp_path / "a.csv")
    assert load(str(path), files=False).parties["a"].train == "a.csv"


@pytest.mark.parametrize(
    "text", [TEXT, SHORT, HORIZONTAL, SHORT.replace("[parties.a]", "evaluate_fraction = 0.2\n[parties.a]")]
)
def test_json_round_trip(text):
    job = parse(text, None)
    assert Job.from_json(job.to_json()) == job
    again = Job.from_json(json.loads(job.canonical()))
    assert again == job
    assert list(again.parties) == list(job.parties)
    assert again.canonical() == job.canonical()


def test_canonical_text_is_pinned():
    assert parse(SHORT, None).canonical() == (
        b'{"align":{"min_intersection":100,"protocol":"ecdh"},"collaboration":"default",'
        b'"evaluate":{"baseline":false,"metrics":[]},"experiment":"default","kind":"vertical","model":{"name":"m"},'
        b'"parties":[{"acknowledge":[],"categorical":[],"exclude":[],"id":["id"],"label":"y","name":"a","train":"a.csv"},'
        b'{"acknowledge":[],"categorical":[],"exclude":[],"id":["id"],"name":"b","train":"b.csv"}],'
        b'"project":"default","seed":0}'
    )


def test_a_horizontal_job_parses_but_does_not_run(tmp_path):
    job = parse(HORIZONTAL, None)
    assert (job.aggregate.strategy, job.aggregate.aggregator, job.privacy.epsilon) == ("fedavg", "a", 4)
    path = tmp_path / "job.toml"
    path.write_text(HORIZONTAL)
    with pytest.raises(Misuse, match="horizontal learning is not part of this release"):
        load(path)


def test_a_job_file_that_cannot_be_read(tmp_path):
    with pytest.raises(Misuse, match=r"no\.toml cannot be read \(FileNotFoundError\)"):
        load(tmp_path / "no.toml")
    (tmp_path / "latin.toml").write_bytes("# é".encode("latin-1"))
    with pytest.raises(Misuse, match=r"cannot be read \(UnicodeDecodeError\); give a TOML file in UTF-8"):
        load(tmp_path / "latin.toml")


WRONG = [
    ('protocol = "ecdh"', "protocl = 'ecdh'", "[align] has no key 'protocl'; did you mean 'protocol'?"),
    ("[align]", "[aling]", "the job has no key 'aling'; did you mean 'align'?"),
    ("seed = 42", "sead = 42", "the job has no key 'sead'; did you mean 'seed'?"),
    ("exclude =", "exlude =", "[parties.telco] has no key 'exlude'; did you mean 'exclude'?"),
    ("baseline =", "base_line =", "[evaluate] has no key 'base_line'; did you mean 'baseline'?"),
    ("l2 = 1.0", "l3 = 1.0", "[model] logistic_regression has no parameter 'l3'; did you mean 'l2'?"),
    ("l2 = 1.0", "protocl = 'a'", "[model] logistic_regression has no parameter 'protocl'; did you mean 'protocol'?"),
    ("l2 = 1.0", "l2 = 'a'", "[model]: 'l2' must be a number"),
    ("l2 = 1.0", "max_iter = 1.5", "[model]: 'max_iter' must be a whole number"),
    ("l2 = 1.0", "fit_intercept = 1", "[model]: 'fit_intercept' must be true or false"),
    ("l2 = 1.0", "penalty = 1", "[model]: 'penalty' must be a text"),
    ("l2 = 1.0", "l2 = nan", "[model]: 'l2' must be a number, a text, true, false, or a list of them"),
    ("l2 = 1.0", "l2 = 2020-01-01", "[model]: 'l2' must be a number, a text, true, false, or a list of them"),
    ('name = "logistic_regression"', 'name = "lr"', "[model] there is no model 'lr'"),
    ('name = "logistic_regression"', "", "[model] lacks 'name'; add it"),
    ('"auc"', '"acu"', "[evaluate] there is no metric 'acu'; did you mean 'auc'?"),
    ("seed = 42", "seed = -1", "the job: 'seed' must be a whole number from 0 on"),
    ("seed = 42", "seed = true", "the job: 'seed' must be a whole number from 0 on"),
    ("seed = 42", f"seed = {10**400}", "the job: 'seed' must be a whole number from 0 on"),
    ("seed = 42", "evaluate_fraction = 1.0", "the job: 'evaluate_fraction' must be a number between 0 and 1"),
    ("min_intersection = 50", "min_intersection = 0", "[align]: 'min_intersection' must be a whole number from 1 on"),
    ('"ecdh"', '"rsa"', "[align]: 'protocol' must be 'ecdh'"),
    ('"vertical"', '"diagonal"', "the job: 'kind' must be 'vertical' or 'horizontal'"),
    ('"joint-risk"', '"joint/risk"', "the job: 'project' must be at most 64 letters, digits, _, - and .,"),
    ('["client_id"]', "[]", "[parties.bank]: 'id' must be a column, or a list of columns"),
    ('["duration"]', '"duration"', "[parties.telco]: 'exclude' must be a list of texts, none twice"),
    ('["duration"]', '["a", "a"]', "[parties.telco]: 'exclude' must be a list of texts, none twice"),
    ('train = "bank_train.csv.gz"', "", "[parties.bank] lacks 'train'; add it"),
    ('label = "y"', "", "exactly one party holds the label, here none; give 'label' to one party"),
    ("exclude =", 'label = "z"\nexclude =', "exactly one party holds the label, here telco and bank"),
    ('label = "y"', 'label = "client_id"', "[parties.bank] names one column as both id and label; name two"),
    ('["client_id"]', '["a", "b"]', "the parties name different numbers of id columns"),
    ("[parties.bank]", "[parties.telco]", "two parties are called 'telco' (line 13); give each a name of its own"),
    ("[parties.bank]", '[parties."ba nk"]', "a party cannot be called 'ba nk'; a name is at most 64 letters"),
    ("[parties.bank]", f"[parties.{'b' * 65}]", "a party cannot be called"),
    ("seed = 42", "parties.x = 1", "[parties.x] must be a table with train, id and so on"),
    ('evaluate = "/data/bank_test.csv.gz"', "", "telco name 'evaluate' but bank not; give it to all or to none"),
    ("seed = 42", "evaluate_fraction = 0.2", "'evaluate_fraction' and the 'evaluate' of telco and bank exclude each"),
    ("[align]", "[aggregate]\n[align]", "[aggregate] has no place in a vertical job; take it out"),
    ("seed = 42", "seed = ", "the job is not valid TOML: Invalid value (at line 6, column 8)"),
]


@pytest.mark.parametrize(("there", "instead", "sentence"), WRONG)
def test_wrong_jobs_are_told(there, instead, sentence):
    assert there in TEXT
    told = problems(TEXT.replace(there, instead, 1), parameters_of=parameters_of)
    assert any(line.startswith(sentence) for line in told), told


def test_few_parties_and_missing_tables():
    assert problems("") == ["the job lacks 'parties'; add it", "the job lacks 'model'; add it"]
    assert any(
        line.startswith("a job needs at least two parties") for line in problems(SHORT.replace("[parties.b]", "[b]"))
    )
    assert "the job: 'model' must be a table" in problems(SHORT.replace("[model]", "[[model]]"))
    assert "the job: 'parties' must be a table" in problems("parties = 1\n[model]\nname = 'm'")


def test_wrong_horizontal_jobs_are_told():
    told = problems(HORIZONTAL.replace('label = "y"', "", 1).replace('"a"', '"c"') + "[align]\n")
    assert told[0] == "in a horizontal job each party holds the label; give 'label' to a"
    assert told[1] == "[align] has no place in a horizontal job; take it out"
    assert told[2] == "[aggregate]: the aggregator must be a party; there are: a, b"
    told = problems(HORIZONTAL.replace("epsilon = 4", "epsilon = 0").replace("delta = 1e-5", ""))
    assert told == ["[privacy]: 'epsilon' must be a number above 0", "[privacy] lacks 'delta'; add it"]


def test_everything_is_told_at_once():
    text = TEXT.replace("seed", "sead").replace("[align]", "[alin]").replace("l2", "l3").replace('"auc"', '"acu"')
    assert len(problems(text, parameters_of=parameters_of)) == 4


@pytest.mark.parametrize(
    "data",
    [None, [], {}, {"parties": {}}, {"parties": [1]}, {"parties": [{"name": 1}]}, {"parties": [{"name": "a"}] * 2}],
)
def test_json_that_is_no_job_is_told(data):
    with pytest.raises(Misuse):
        Job.from_json(data)


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({}))


@given(st.data())
def test_json_from_a_peer_gives_a_job_or_misuse(data):
    """Any value in any place of a job is either accepted or told, never another error."""
    job = parse(TEXT, None).to_json()
    where = job
    while isinstance(where, (dict, list)) and where:
        key = data.draw(st.sampled_from(sorted(where) if isinstance(where, dict) else range(len(where))))
        if not isinstance(where[key], (dict, list)) or not where[key] or data.draw(st.booleans()):
            where[key] = data.draw(LEAVES)
            break
        where = where[key]
    try:
        accepted = Job.from_json(job)
    except Misuse:
        return
    assert Job.from_json(json.loads(accepted.canonical())) == accepted


def test_importing_it_loads_nothing_heavy():
    heavy = "pandas", "pyarrow", "fsspec", "numba", "tenseal", "torch", "sklearn"
    code = f"import engine.jobfile, engine.data, sys; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
