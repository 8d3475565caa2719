"""The folders that nodes live in, and `init`, which makes those of a whole federation on one machine.

    DIR/authority/           root.pem root.key issuer.pem issuer.key    take root.key off the machine
    DIR/coordinator/         coordinator.toml root.pem tls.pem tls.key; synergos.db once it has run
    DIR/operators/NAME/      operator.toml root.pem tls.pem tls.key
    DIR/workers/NAME/        worker.toml policy.toml data.toml pins.toml identity.key root.pem tls.pem tls.key; runs/
                             matched.db, what peers brought to match in 24 hours, if policy.toml limits it

A worker's folder holds what that worker needs and nothing of the others but the fingerprints of their identities; move
it to the organisation's own machine and set `coordinator` in worker.toml. Files are 0600, folders 0700.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import Misuse
from engine.randomness import random_bytes
from engine.runtime.policy import Policy, load_policy
from node.keys import (
    FINGERPRINT,
    PEM,
    Authority,
    Identity,
    Tls,
    fingerprint,
    operator_uri,
    private_pem,
    require_name,
    worker_uri,
)

DEFAULT_ADDRESS = "127.0.0.1:7443"
_BARE = re.compile(r"[A-Za-z0-9_-]+")  # TOML keys that need no quotes
_POLICY = """\
# What this organisation allows; the first [[allow]] whose patterns fit decides, none fits: refused.
# The one below allows every run that leaks nothing beyond what its protocols say. Narrow it:
#   project = "bank-telco/*"        parties = ["bank", "telco"]      never = ["nric", "name"]
#   min_intersection = 1000         max_rows = 2_000_000
# Under every rule, what peers may match: [psi] with rows_per_peer_per_day, runs_per_peer_per_day, min_intersection.
[[allow]]
"""


@dataclass(frozen=True)
class WorkerFolder:
    """A worker's folder; what may change while it runs (policy, data, pins) is read anew each time."""

    path: Path
    organisation: str
    federation: str
    coordinator: str
    policy_file: str

    def identity(self) -> Identity:
        """Return the organisation's identity."""
        return Identity.from_pem(_read(self.path / "identity.key"))

    def tls(self) -> Tls:
        """Return the worker's certificate."""
        return read_tls(self.path)

    def policy_text(self) -> str:
        """Return the policy file's text."""
        return _read(self.path / self.policy_file).decode(errors="replace")

    def policy(self) -> Policy:
        """Return the organisation's policy; Misuse if the file is missing or wrong."""
        return load_policy(self.policy_text(), self.organisation)

    def pins(self) -> dict[str, str]:
        """Return organisation -> trusted fingerprint."""
        return _texts(self.path / "pins.toml")

    def pin(self, organisation: str, fingerprint: str) -> None:
        """Trust an organisation's identity from now on; Misuse if that is no fingerprint."""
        if not FINGERPRINT.fullmatch(fingerprint):
            raise Misuse(f"{fingerprint!r} is no fingerprint: it has eight groups of four letters and digits")
        write(self.path / "pins.toml", _toml({**self.pins(), organisation: fingerprint}))

    def data(self) -> dict[str, str]:
        """Return name -> path or URL of the registered data sets."""
        file = self.path / "data.toml"
        return _texts(file) if file.exists() else {}

    def located(self, name: str) -> str:
        """Return the file or URL behind the name of a data set; a job cannot name any other file.

        Raises:
            Misuse: there is no such data set.
        """
        sets = self.data()
        if name not in sets:  # others read this: it names nothing else that is registered
            raise Misuse(f"{self.organisation} has no data set {name!r}; `synergos data list` there shows what it has")
        return sets[name]

    def register(self, sets: Mapping[str, str]) -> None:
        """Register data sets, or let their names stand for other files from now on."""
        write(self.path / "data.toml", _toml({**self.data(), **sets}))


@dataclass(frozen=True)
class CoordinatorFolder:
    """The coordinator's folder."""

    path: Path
    federation: str
    listen: str
    heartbeat: float

    def tls(self) -> Tls:
        """Return the coordinator's certificate."""
        return read_tls(self.path)

    @property
    def database(self) -> str:
        """URL of the coordinator's database."""
        return f"sqlite:///{self.path / 'synergos.db'}"


@dataclass(frozen=True)
class OperatorFolder:
    """The folder of a person who submits jobs."""

    path: Path
    federation: str
    coordinator: str

    def tls(self) -> Tls:
        """Return the operator's certificate."""
        return read_tls(self.path)


def worker_folder(path: str | Path) -> WorkerFolder:
    """Read a worker's folder; Misuse says what is missing."""
    keys = ("organisation", "federation", "coordinator", "policy")
    values = _settings(Path(path), "worker.toml", dict.fromkeys(keys, str))
    return WorkerFolder(Path(path), *(values[key] for key in keys))


def coordinator_folder(path: str | Path) -> CoordinatorFolder:
    """Read a coordinator's folder; Misuse says what is missing."""
    values = _settings(Path(path), "coordinator.toml", {"federation": str, "listen": str, "heartbeat": float})
    if not 0.05 <= values["heartbeat"] <= 300:
        raise Misuse("heartbeat in coordinator.toml is in seconds, between 0.05 and 300")
    return CoordinatorFolder(Path(path), values["federation"], values["listen"], values["heartbeat"])


def operator_folder(path: str | Path) -> OperatorFolder:
    """Read an operator's folder; Misuse says what is missing."""
    values = _settings(Path(path), "operator.toml", {"federation": str, "coordinator": str})
    return OperatorFolder(Path(path), values["federation"], values["coordinator"])


def init(
    directory: str | Path,
    workers: Sequence[str],
    *,
    address: str = DEFAULT_ADDRESS,
    heartbeat: float = 5.0,
    operator: str = "operator",
) -> Path:
    """Make a federation on this machine: a coordinator, one worker per organisation, an operator; all trust each other.

    Args:
        address: host:port of the coordinator; port 0 lets `node.local` choose a free one at each start.

    Raises:
        Misuse: the directory holds something already, or a name or the address is not valid.
    """
    target = Path(directory)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Misuse(f"{target} holds something already, and init overwrites nothing: choose another directory")
    for name in (*workers, operator):
        require_name(name, "worker" if name in workers else "operator")
    if not workers or len(set(workers)) < len(workers):
        raise Misuse("give at least one worker, each with a name of its own")
    split_address(address)
    target.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))  # 0700; all or nothing appears
    try:
        _build(building, workers, address, heartbeat, operator)
        building.rename(target)
    except BaseException:
        shutil.rmtree(building)
        raise
    return target


def _build(path: Path, workers: Sequence[str], address: str, heartbeat: float, operator: str) -> None:
    federation = f"local-{random_bytes(4).tobytes().hex()}"
    authority = Authority(federation)
    write(path / "authority" / "root.pem", authority.root_pem)
    write(path / "authority" / "root.key", private_pem(authority.root_key))
    write(path / "authority" / "issuer.pem", authority.issuer.public_bytes(PEM))
    write(path / "authority" / "issuer.key", private_pem(authority.issuer_key))
    coordinator: dict[str, str | float] = {"federation": federation, "listen": address, "heartbeat": heartbeat}
    _make(path / "coordinator", "coordinator.toml", coordinator, authority.coordinator())
    client = {"federation": federation, "coordinator": address}
    tls = authority.client(operator_uri(federation, operator))
    _make(path / "operators" / operator, "operator.toml", client, tls)
    identities = {name: Identity.generate() for name in workers}
    for name in workers:
        folder = path / "workers" / name
        tls = authority.client(worker_uri(federation, name, name))
        _make(folder, "worker.toml", {"organisation": name, **client, "policy": "policy.toml"}, tls)
        write(folder / "policy.toml", _POLICY.encode())
        write(folder / "identity.key", identities[name].to_pem())
        write(folder / "pins.toml", _toml({org: fingerprint(key.public) for org, key in identities.items()}))


def _make(folder: Path, name: str, settings: Mapping[str, str | float], tls: Tls) -> None:
    write(folder / name, _toml(settings))
    for file, content in (("root.pem", tls.root), ("tls.pem", tls.chain), ("tls.key", tls.key)):
        write(folder / file, content)


def write(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads, whole or not at all, and its folders if they are missing."""
    for folder in reversed([p for p in path.parents if not p.exists()]):
        folder.mkdir(mode=0o700, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:  # 0600
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of "host:port"; Misuse if it is not that."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise Misuse(f"{address!r} is no address: give host and port, such as {DEFAULT_ADDRESS}")
    return host.strip("[]"), int(port)


def read_tls(folder: Path) -> Tls:
    """Return the certificate files of a folder."""
    return Tls(*(_read(folder / name) for name in ("root.pem", "tls.pem", "tls.key")))


def _settings(folder: Path, name: str, kinds: Mapping[str, type]) -> dict[str, Any]:
    values = _parsed(folder / name)
    if unknown := sorted(set(values) - set(kinds)):
        raise Misuse(f"{name} has no key {unknown[0]!r}; it has {', '.join(kinds)}")
    for key, kind in kinds.items():
        if not isinstance(values.get(key), (int, float) if kind is float else kind):
            raise Misuse(f"{key} in {name} is missing or not a {'number' if kind is float else 'text'}")
    return values


def _texts(file: Path) -> dict[str, str]:
    values = _parsed(file)
    if not all(isinstance(value, str) for value in values.values()):
        raise Misuse(f"every entry of {file.name} is a text")
    return values


def _parsed(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read(file).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misuse(f"{file.name} is not valid TOML: {error}") from None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Misuse(f"{file} cannot be read ({type(error).__name__}): make the folder with `synergos init`") from None


def _toml(values: Mapping[str, str | float]) -> bytes:
    """Return flat TOML; JSON's texts and numbers are TOML's too."""
    lines = (f"{key if _BARE.fullmatch(key) else _quoted(key)} = {_quoted(value)}\n" for key, value in values.items())
    return "".join(lines).encode()


def _quoted(value: str | float) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
