"""What an organisation allows in runs that touch its data; read from its own TOML file, checked by its own worker.

    [[allow]]                              the first entry whose patterns fit decides; none fits: refused
    project = "bank-telco/*"               collaboration/project, shell patterns
    parties = ["bank", "telco"]            who may take part; default anyone
    protocols = ["ecdh", "shared"]         default: all but those that leak and must be acknowledged
    never = ["nric", "name"]               columns that no run may read
    min_intersection = 1000                rows that must be shared, or nothing is released
    max_rows = 2_000_000
    acknowledge = ["histograms"]           leaks accepted, by name
    min_security_bits = 128

    [psi]                                  under every rule, each time rows are matched
    min_intersection = 50
    rows_per_peer_per_day = 5_000_000      rows that a peer may bring in 24 hours: each is a guess at an id
    runs_per_peer_per_day = 20             repeated runs on changed sets tell what the changes did

Rules on names are checked before a run starts (`permit`), rules on data inside it, before the value that depends on the
data is sent (`check_match`, `check_intersection`). Who counts what peers bring is given to `counting`: a
worker counts on disk, over all its runs (node/budget.py). Where nobody counts, a day's limits hold in each run alone.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any

from engine.errors import Misuse, Refused

UNLIMITED = 1 << 62
Count = Callable[[Mapping[str, int]], None]
"""Told what each peer brings to a run, name -> rows; Refused, and nothing counted, if that is more than is left."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One [[allow]] entry; the default allows what leaks nothing by name and asks for 128-bit strength."""

    project: str = "*"
    parties: tuple[str, ...] = ("*",)
    protocols: tuple[str, ...] = ("*",)
    never: tuple[str, ...] = ()
    min_intersection: int = 1
    max_rows: int = 1 << 32
    acknowledge: tuple[str, ...] = ()
    min_security_bits: int = 128


@dataclass(frozen=True, kw_only=True)
class Matching:
    """The [psi] entry: limits on matching rows; a day is any 24 hours."""

    min_intersection: int = 1
    rows_per_peer_per_day: int = UNLIMITED
    runs_per_peer_per_day: int = UNLIMITED

    @property
    def counts(self) -> bool:
        """Whether it must be remembered what peers brought."""
        return min(self.rows_per_peer_per_day, self.runs_per_peer_per_day) < UNLIMITED

    def check(self, owner: str, peer: str, rows: int, runs: int) -> None:
        """Refuse if the rows and runs of a peer in a day, with those of the run that begins, are too many."""
        if rows > self.rows_per_peer_per_day:
            limit = f"{self.rows_per_peer_per_day:,} rows (rows_per_peer_per_day)"
        elif runs > self.runs_per_peer_per_day:
            limit = f"{self.runs_per_peer_per_day:,} runs (runs_per_peer_per_day)"
        else:
            return
        raise Refused(owner, f"its policy lets {peer} match {limit} in 24 hours, and this run is beyond them")


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What a run asks of one organisation."""

    project: str
    parties: tuple[str, ...]
    protocols: tuple[str, ...]
    columns: tuple[str, ...]
    leaks: tuple[str, ...] = ()
    security_bits: int = 128


@dataclass(frozen=True)
class Policy:
    """The rules of one organisation. Without a file it allows every run that leaks nothing beyond its protocols."""

    owner: str = "this organisation"
    rules: tuple[Rule, ...] = (Rule(),)
    matching: Matching = Matching()
    count: Count | None = None

    def permit(self, proposal: Proposal) -> Rule:
        """Return the rule under which the proposal may run; Refused with the reason if there is none."""
        for rule in self.rules:
            if fnmatchcase(proposal.project, rule.project) and _all_match(proposal.parties, rule.parties):
                self._apply(rule, proposal)
                return rule
        raise Refused(self.owner, f"no rule of its policy allows project {proposal.project!r} with these parties")

    def _apply(self, rule: Rule, proposal: Proposal) -> None:
        if bad := [p for p in proposal.protocols if not _all_match([p], rule.protocols)]:
            raise Refused(self.owner, f"its policy does not allow the protocol {bad[0]!r}")
        if bad := [c for c in proposal.columns if any(fnmatchcase(c, n) for n in rule.never)]:
            raise Refused(self.owner, f"its policy never lets a run read the column {bad[0]!r}: exclude it")
        if bad := [leak for leak in proposal.leaks if leak not in rule.acknowledge]:
            raise Refused(self.owner, f"{bad[0]!r} leaks and is not acknowledged in its policy")
        if proposal.security_bits < rule.min_security_bits:
            raise Refused(self.owner, f"its policy asks for {rule.min_security_bits}-bit security")

    def within(self, rule: Rule) -> Policy:
        """Return the policy narrowed to the rule that permitted the run."""
        return replace(self, rules=(rule,))

    def counting(self, count: Count) -> Policy:
        """Return the policy with somebody who keeps count of what peers bring over all runs."""
        return replace(self, count=count)

    @property
    def min_intersection(self) -> int:
        """The least number of rows that must be shared."""
        return max(self.rules[0].min_intersection, self.matching.min_intersection)

    def check_rows(self, rows: int) -> None:
        """Refuse a table with more rows than the rule allows."""
        if rows > self.rules[0].max_rows:
            raise Refused(self.owner, f"its policy allows at most {self.rules[0].max_rows:,} rows in a run")

    def check_match(self, peers: Mapping[str, int]) -> None:
        """Refuse a run to which a peer brings more rows, name -> rows, than is left to it; call before matching."""
        if self.count is not None:
            self.count(peers)
            return
        for peer, rows in peers.items():
            self.matching.check(self.owner, peer, rows, 1)

    def check_intersection(self, shared: int, floor: int = 1) -> None:
        """Refuse an intersection below the larger of the run's and the policy's minimum; call before releasing it.

        One row at the least must be shared, whatever the minimum: no protocol goes on with none. Peers read the text:
        above a minimum of one it does not tell none from few, or one guessed id would be tested by it.
        """
        least = max(1, floor, self.min_intersection)
        if shared < least:
            raise Refused(
                self.owner,
                (
                    f"the parties share fewer customers than the minimum of {least:,}"
                    if least > 1
                    else "the parties share no customer"
                )
                + ": check that the id columns hold the same kind of id",
            )


def _all_match(names: Collection[str], patterns: Collection[str]) -> bool:
    return all(any(fnmatchcase(name, pattern) for pattern in patterns) for name in names)


def load_policy(text: str, owner: str) -> Policy:
    """Parse a policy file; Misuse names an unknown key and the nearest right one."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misuse(f"the policy of {owner} is not valid TOML: {error}") from None
    if unknown := set(document) - {"allow", "psi"}:
        raise Misuse(
            f"the policy of {owner} has no key {sorted(unknown)[0]!r}; rules stand in [[allow]], limits on matching "
            "in [psi]"
        )
    entries = document.get("allow", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Misuse(f"the rules in the policy of {owner} stand in [[allow]], with two brackets on each side")
    limits = document.get("psi", {})
    if not isinstance(limits, dict):
        raise Misuse(f"the limits on matching in the policy of {owner} stand in [psi], with one bracket on each side")
    rules = tuple(Rule(**_values(Rule, entry, "[[allow]]", owner)) for entry in entries)
    return Policy(owner, rules, Matching(**_values(Matching, limits, "[psi]", owner)))


def _values(kind: type[Rule | Matching], entry: Mapping[str, Any], where: str, owner: str) -> dict[str, Any]:
    known = {f.name: f for f in fields(kind)}
    values: dict[str, Any] = {}
    for key, value in entry.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise Misuse(f"{where} in the policy of {owner} has no key {key!r}{hint}")
        default = known[key].default
        match default:
            case tuple():
                fits, what = isinstance(value, list) and all(isinstance(v, str) for v in value), "a list of texts"
            case int():
                fits, what = type(value) is int and value >= 0, "a whole number of 0 or more"
            case _:
                fits, what = isinstance(value, str), "a text"
        if not fits:
            raise Misuse(f"{key} in the policy of {owner} must be {what}")
        values[key] = tuple(value) if isinstance(value, list) else value
    return values
