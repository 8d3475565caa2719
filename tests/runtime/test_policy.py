"""What an organisation allows: each rule on its own, the first that fits, and files that say what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import Misuse, Refused
from engine.runtime.policy import Policy, Proposal, Rule, load_policy


def proposal(**changes: Any) -> Proposal:
    asked: dict[str, Any] = {
        "project": "bank-telco/joint-risk",
        "parties": ("bank", "telco"),
        "protocols": ("ecdh", "shared"),
        "columns": ("age", "income"),
    }
    return Proposal(**(asked | changes))


def policy(*rules: Rule) -> Policy:
    return Policy("telco", rules)


def test_without_a_file_what_leaks_nothing_by_name_is_allowed() -> None:
    assert Policy().permit(proposal()) == Rule()
    with pytest.raises(Refused, match="'histograms' leaks and is not acknowledged"):
        Policy().permit(proposal(leaks=("histograms",)))
    with pytest.raises(Refused, match="128-bit"):
        Policy().permit(proposal(security_bits=112))


REFUSALS: dict[str, tuple[Rule, dict[str, Any], str]] = {
    "project": (Rule(project="bank-telco/*"), {"project": "other/joint-risk"}, "no rule .* project 'other/joint-risk'"),
    "parties": (Rule(parties=("bank", "telco")), {"parties": ("bank", "telco", "shop")}, "with these parties"),
    "protocols": (Rule(protocols=("ecdh",)), {}, "does not allow the protocol 'shared'"),
    "never": (Rule(never=("inc*", "name")), {}, "never lets a run read the column 'income': exclude it"),
    "acknowledge": (Rule(acknowledge=("other",)), {"leaks": ("histograms",)}, "'histograms' leaks"),
    "min_security_bits": (Rule(min_security_bits=192), {}, "asks for 192-bit security"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_each_rule_refuses_what_it_is_for(name: str) -> None:
    rule, changes, text = REFUSALS[name]
    with pytest.raises(Refused, match=f"telco refuses: .*{text}") as refused:
        policy(rule).permit(proposal(**changes))
    assert refused.value.who == "telco"


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        (Rule(project="bank-telco/*"), {}),
        (Rule(parties=("bank", "tel*")), {}),
        (Rule(protocols=("ecdh", "shared", "oprf")), {}),
        (Rule(never=("nric",)), {}),
        (Rule(acknowledge=("histograms",)), {"leaks": ("histograms",)}),
        (Rule(min_security_bits=0), {"security_bits": 0}),
    ],
)
def test_each_rule_lets_pass_what_it_is_not_for(rule: Rule, changes: dict[str, Any]) -> None:
    assert policy(rule).permit(proposal(**changes)) == rule


def test_the_first_rule_whose_patterns_fit_decides() -> None:
    strict, open_to_all = Rule(project="bank-telco/*", protocols=("ecdh",)), Rule()
    assert policy(strict, open_to_all).permit(proposal(project="other/x")) == open_to_all
    with pytest.raises(Refused, match="protocol 'shared'"):
        policy(strict, open_to_all).permit(proposal())
    with pytest.raises(Refused, match="no rule"):
        policy().permit(proposal())


def test_patterns_tell_upper_from_lower_case() -> None:
    with pytest.raises(Refused, match="no rule"):
        policy(Rule(project="Bank-telco/*")).permit(proposal())


def test_rules_on_data_hold_inside_the_run() -> None:
    rule = Rule(min_intersection=100, max_rows=1000)
    mine = policy(Rule(), rule).within(rule)
    mine.check_rows(1000)
    with pytest.raises(Refused, match="at most 1,000 rows"):
        mine.check_rows(1001)
    mine.check_intersection(100)
    for shared, floor, least in ((99, 1, "100"), (100, 101, "101")):
        with pytest.raises(Refused, match=f"fewer customers than the minimum of {least}") as refused:
            mine.check_intersection(shared, floor)
        assert str(shared) not in str(refused.value).replace(least, "")  # how many there are is not said


@pytest.mark.parametrize("least", [0, 1])
def test_sharing_nobody_is_always_refused(least: int) -> None:
    with pytest.raises(Refused, match="share no customer: check that the id columns hold the same kind of id"):
        policy(Rule(min_intersection=least)).check_intersection(0, least)


def test_a_refusal_does_not_tell_none_from_few() -> None:
    texts = set()
    for shared in range(5):
        with pytest.raises(Refused) as refused:
            policy(Rule(min_intersection=5)).check_intersection(shared)
        texts.add(str(refused.value))
    assert len(texts) == 1


def test_what_peers_may_match_is_limited_in_each_run_and_by_whoever_counts() -> None:
    limited = load_policy("[psi]\nmin_intersection = 5\nrows_per_peer_per_day = 10\n[[allow]]", "telco")
    narrowed = limited.within(Rule(min_intersection=3))
    assert narrowed.min_intersection == 5
    assert limited.within(Rule(min_intersection=7)).min_intersection == 7
    with pytest.raises(Refused, match="minimum of 5"):
        narrowed.check_intersection(4)
    narrowed.check_match({"bank": 10, "shop": 10})
    with pytest.raises(Refused, match=r"lets shop match 10 rows \(rows_per_peer_per_day\) in 24 hours"):
        narrowed.check_match({"bank": 10, "shop": 11})
    with pytest.raises(Refused, match="lets bank match 0 runs"):
        load_policy("[psi]\nruns_per_peer_per_day = 0", "telco").check_match({"bank": 1})
    told: list[Any] = []
    narrowed.counting(told.append).check_match({"shop": 11})
    assert told == [{"shop": 11}]


FILE = """
[[allow]]
project = "bank-telco/*"
parties = ["bank", "telco"]
protocols = ["ecdh", "shared"]
never = ["nric", "name"]
min_intersection = 1000
max_rows = 2_000_000
acknowledge = ["histograms"]
min_security_bits = 128
[[allow]]
project = "lab/*"
"""


def test_a_file_is_read() -> None:
    read = load_policy(FILE, "telco")
    assert read.owner == "telco"
    assert read.rules[0] == Rule(
        project="bank-telco/*", parties=("bank", "telco"), protocols=("ecdh", "shared"), never=("nric", "name"),
        min_intersection=1000, max_rows=2_000_000, acknowledge=("histograms",), min_security_bits=128,
    )  # fmt: skip
    assert read.rules[1] == Rule(project="lab/*")
    with pytest.raises(Refused):
        load_policy("", "telco").permit(proposal())  # an empty file allows nothing


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[allow]]\nprojct = '*'", r"no key 'projct'; did you mean 'project'\?"),
        ("[[allow]]\nmin_intersections = 5", r"no key 'min_intersections'; did you mean 'min_intersection'\?"),
        ("[[allow]]\nzzz = 5", "no key 'zzz'$"),
        ("[[deny]]\nproject = '*'", r"no key 'deny'; rules stand in \[\[allow\]\]"),
        ("[allow]\nproject = '*'", "two brackets"),
        ("allow = 5", "two brackets"),
        ("allow = [1]", "two brackets"),
        ("[[allow]]\nproject = 5", "project .* must be a text"),
        ("[[allow]]\nparties = 'bank'", "parties .* must be a list of texts"),
        ("[[allow]]\nparties = [1]", "parties .* must be a list of texts"),
        ("[[allow]]\nmax_rows = true", "max_rows .* must be a whole number"),
        ("[[allow]]\nmax_rows = -1", "max_rows .* must be a whole number of 0 or more"),
        ("[[allow]]\nmax_rows = 1.5", "max_rows .* must be a whole number"),
        ("[[allow", "not valid TOML"),
        ("[[psi]]\nmin_intersection = 5", r"stand in \[psi\], with one bracket"),
        ("psi = 5", "one bracket"),
        ("[psi]\nrows_per_day = 5", r"\[psi\] .* no key 'rows_per_day'; did you mean 'rows_per_peer_per_day'"),
        ("[psi]\nruns_per_peer_per_day = -1", "runs_per_peer_per_day .* must be a whole number of 0 or more"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(Misuse, match=says) as error:
        load_policy(text, "telco")
    assert "the policy of telco" in str(error.value)
