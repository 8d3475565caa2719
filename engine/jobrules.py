"""What may stand in a job: the keys of each table, what their values must be, and what must fit together.

Works on plain dictionaries, as TOML and JSON give them, and finds everything that is wrong before it complains.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.data.metrics import require_metrics
from engine.data.nearest import suggestion
from engine.errors import Misuse

ParametersOf = Callable[[str], Mapping[str, object]]
"""Model name -> its parameters and their defaults; raises Misuse for a model that does not exist."""

Entries = dict[str, Any]


@dataclass(frozen=True)
class _Rule:
    """What a value must be: said in words, and tested."""

    says: str
    holds: Callable[[Any], bool]


_LARGEST = 2**63 - 1  # what TOML and every database can hold


def _is_whole(value: object) -> bool:
    return type(value) is int and abs(value) <= _LARGEST


def _is_number(value: object) -> bool:
    return _is_whole(value) or (type(value) is float and math.isfinite(value))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_texts(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _is_parameter(value: object) -> bool:
    each = value if isinstance(value, (list, tuple)) else [value]
    return all(isinstance(one, (bool, str)) or _is_number(one) for one in each)


def _whole(low: int) -> _Rule:
    return _Rule(f"a whole number from {low} on", lambda value: _is_whole(value) and value >= low)


def _one_of(*names: str) -> _Rule:
    return _Rule(" or ".join(f"{name!r}" for name in names), lambda value: value in names)


_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_NAME = _Rule(
    "at most 64 letters, digits, _, - and ., with a letter or digit first",
    lambda value: isinstance(value, str) and _NAME_PATTERN.fullmatch(value) is not None,
)
_TAKEN = ("train", "evaluate", "predict", "aligned", "coordinator")  # what else is counted or speaks beside parties
_TEXT = _Rule("a text", _is_text)
_TEXTS = _Rule("a list of texts, none twice", _is_texts)
_ID = _Rule("a column, or a list of columns", lambda value: _is_text(value) or (_is_texts(value) and len(value) > 0))
_FLAG = _Rule("true or false", lambda value: isinstance(value, bool))
_SHARE = _Rule("a number between 0 and 1", lambda value: _is_number(value) and 0 < value < 1)
_POSITIVE = _Rule("a number above 0", lambda value: _is_number(value) and value > 0)
_TABLE = _Rule("a table", lambda value: isinstance(value, dict))
_PARAMETER = _Rule("a number, a text, true, false, or a list of them", _is_parameter)

_KEYS: dict[str, dict[str, _Rule]] = {
    "job": {
        **dict.fromkeys(("collaboration", "project", "experiment"), _NAME),
        "kind": _one_of("vertical", "horizontal"),
        "seed": _whole(0),
        "evaluate_fraction": _SHARE,
        **dict.fromkeys(("parties", "align", "model", "evaluate", "aggregate", "privacy"), _TABLE),
    },
    "party": {
        **dict.fromkeys(("train", "evaluate", "predict", "label"), _TEXT),
        "id": _ID,
        **dict.fromkeys(("columns", "exclude", "categorical", "acknowledge"), _TEXTS),
    },
    "model": dict.fromkeys(("name", "protocol"), _TEXT),
    "align": {"protocol": _one_of("ecdh"), "min_intersection": _whole(1)},
    "evaluate": {"metrics": _TEXTS, "baseline": _FLAG},
    "aggregate": {
        **dict.fromkeys(("strategy", "secure", "aggregator"), _TEXT),
        **dict.fromkeys(("rounds", "local_epochs"), _whole(1)),
    },
    "privacy": {"mechanism": _one_of("distributed", "central", "local"), "epsilon": _POSITIVE, "delta": _SHARE},
}
_REQUIRED = {
    "job": ("parties", "model"),
    "party": ("train", "id"),
    "model": ("name",),
    "privacy": ("epsilon", "delta"),
}
# What suits a model's parameter, by the type of its default; a default of another type takes anything.
_LIKE = {
    bool: _FLAG,
    int: _Rule("a whole number", _is_whole),
    float: _Rule("a number", _is_number),
    str: _TEXT,
}


def may_be_called(name: str) -> bool:
    """Say whether a party may have this name."""
    return _NAME.holds(name) and name not in _TAKEN


def checked(raw: Mapping[str, Any], parameters_of: ParametersOf | None) -> Entries:
    """Return the entries of a job by table, lists as tuples, a model's parameters apart.

    Raises:
        Misuse: one line for everything that is wrong.
    """
    found: list[str] = []
    entries = _table(raw, "job", "the job", found)
    entries["parties"] = {name: _party(name, data, found) for name, data in entries.get("parties", {}).items()}
    for section in ("align", "evaluate", "aggregate", "privacy"):
        if section in entries:
            entries[section] = _table(entries[section], section, f"[{section}]", found)
    if "model" in entries:
        entries["model"] = _model(entries["model"], parameters_of, found)
    if "parties" in raw:
        found += _disagreements(entries)
    try:
        require_metrics(entries.get("evaluate", {}).get("metrics", ()))
    except Misuse as error:
        found += [f"[evaluate] {line}" for line in str(error).splitlines()]
    if found:
        raise Misuse("\n".join(found))
    return entries


def _table(raw: Mapping[str, Any], kind: str, where: str, found: list[str]) -> Entries:
    """Return the entries that are right, and note what is wrong with the others."""
    rules, entries = _KEYS[kind], Entries()
    for key, value in raw.items():
        if key not in rules:
            found.append(f"{where} has no key {key!r}; {suggestion(key, rules)}")
        elif not rules[key].holds(value):
            found.append(f"{where}: {key!r} must be {rules[key].says}")
        else:
            entries[key] = tuple(value) if isinstance(value, list) else value
    found += [f"{where} lacks {key!r}; add it" for key in _REQUIRED.get(kind, ()) if key not in raw]
    return entries


def _party(name: str, raw: object, found: list[str]) -> Entries:
    where = f"[parties.{name}]"
    if not _NAME.holds(name):
        found.append(f"a party cannot be called {name[:80]!r}; a name is {_NAME.says}")
    if name in _TAKEN:
        found.append(f"a party cannot be called {name!r}, which reports use for something else; give it another name")
    if not isinstance(raw, dict):
        found.append(f"{where} must be a table with train, id and so on")
        return {}
    entries = _table(raw, "party", where, found)
    if "id" in entries and isinstance(entries["id"], str):
        entries["id"] = (entries["id"],)
    if entries.get("label") in entries.get("id", ()):
        found.append(f"{where} names one column as both id and label; name two")
    return entries


def _model(raw: Mapping[str, Any], parameters_of: ParametersOf | None, found: list[str]) -> Entries:
    """Split the table of a model into its name, its protocol and its parameters."""
    parameters = {key: value for key, value in raw.items() if key not in _KEYS["model"]}
    entries = _table({key: raw[key] for key in raw if key in _KEYS["model"]}, "model", "[model]", found)
    wrong = [key for key, value in parameters.items() if not _PARAMETER.holds(value)]
    found += [f"[model]: {key!r} must be {_PARAMETER.says}" for key in wrong]
    if parameters_of is not None and "name" in entries:
        try:
            defaults = parameters_of(entries["name"])
            found += _wrong_parameters(entries["name"], parameters, defaults)
        except Misuse as error:
            found.append(f"[model] {error}")
    frozen = {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}
    return {**entries, "parameters": frozen}


def _wrong_parameters(model: str, parameters: Mapping[str, Any], defaults: Mapping[str, object]) -> list[str]:
    found = []
    for key, value in parameters.items():
        if key not in defaults:
            found.append(f"[model] {model} has no parameter {key!r}; {suggestion(key, [*_KEYS['model'], *defaults])}")
        elif (rule := _LIKE.get(type(defaults[key]))) and not rule.holds(value):
            found.append(f"[model]: {key!r} must be {rule.says}")
    return found


def _disagreements(entries: Entries) -> list[str]:
    """Return what does not fit together across the tables."""
    parties: dict[str, Entries] = entries["parties"]
    found = []
    if len(parties) < 2:
        found.append("a job needs at least two parties; add a table [parties.NAME] for each")
    holders = [name for name, data in parties.items() if "label" in data]
    vertical = entries.get("kind", "vertical") == "vertical"
    if vertical:
        if len(holders) != 1:
            who = " and ".join(holders) if holders else "none"
            found.append(f"exactly one party holds the label, here {who}; give 'label' to one party")
        if len({len(data.get("id", ())) for data in parties.values() if "id" in data}) > 1:
            found.append("the parties name different numbers of id columns; rows match on the same ones everywhere")
    elif without := [name for name in parties if name not in holders]:
        found.append(f"in a horizontal job each party holds the label; give 'label' to {' and '.join(without)}")
    for section in ("aggregate", "privacy") if vertical else ("align",):
        if section in entries:
            found.append(f"[{section}] has no place in a {entries.get('kind', 'vertical')} job; take it out")
    aggregator = entries.get("aggregate", {}).get("aggregator")
    if aggregator is not None and aggregator not in parties:
        found.append(f"[aggregate]: the aggregator must be a party; {suggestion(aggregator, parties)}")
    return found + _wrong_evaluation(entries, parties)


def _wrong_evaluation(entries: Entries, parties: Mapping[str, Entries]) -> list[str]:
    """Rows are held out in one way: files of every party, or a fraction."""
    having = [name for name, data in parties.items() if "evaluate" in data]
    lacking = [name for name in parties if name not in having]
    if having and "evaluate_fraction" in entries:
        return [f"'evaluate_fraction' and the 'evaluate' of {' and '.join(having)} exclude each other; keep one"]
    if having and lacking:
        return [f"{' and '.join(having)} name 'evaluate' but {' and '.join(lacking)} not; give it to all or to none"]
    return []
