"""From proposal to manifest: what a run is, who approved it, and the one digest that binds all of it.

    coordinator  Proposal (job, parties, validity)      -->  every party
    party        Approval, signed by its identity:
                 digest of the proposal, run keys       -->  coordinator
    coordinator  Manifest = proposal, all approvals     -->  every party, which verifies all of it for itself
    party        Final, signed: digests of manifest and ledger, outcome

The digest M of the manifest enters every handshake between parties, so two that were shown different runs cannot talk.
The coordinator puts these together but can alter nothing: each party checks the signatures against its own pins.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from engine.errors import Misuse, PeerFault
from engine.jobfile import Job
from engine.runtime.noise import split_public
from node.keys import Identity, Signed

COORDINATOR = "coordinator"
VALID = 7 * 86400.0  # seconds that an approval stands
T = TypeVar("T")


def canonical(value: object) -> bytes:
    """Return the one JSON text of a value, for digests and signatures."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


@dataclass(frozen=True)
class Proposal:
    """What the parties are asked to do; `run` is 16 random bytes in hex, `name` what people call it."""

    federation: str
    run: str
    name: str
    job: dict[str, Any]
    proposer: str
    valid_until: float

    def encode(self) -> bytes:
        """Return its bytes; digests are of these, as received."""
        return canonical(asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> Proposal:
        """Return the proposal; PeerFault(coordinator) if it is malformed."""
        kinds = {"federation": str, "run": str, "name": str, "job": dict, "proposer": str, "valid_until": float}
        proposal = cls(**_fields(data, kinds, COORDINATOR, "proposal"))
        if len(_parsed(lambda: bytes.fromhex(proposal.run), COORDINATOR, "proposal")) != 16:
            raise PeerFault(COORDINATOR, "sent a malformed proposal")
        return proposal

    def parsed_job(self) -> Job:
        """Return the job, checked; Misuse says what is wrong with it."""
        return Job.from_json(self.job)


@dataclass(frozen=True)
class Approval:
    """What an organisation signs: this proposal, under this policy, with these run keys."""

    proposal: str
    organisation: str
    keys: str
    policy: str
    expires: float

    def public(self) -> bytes:
        """Return the run's public keys, 1216 bytes; PeerFault if they are malformed."""
        return _parsed(lambda: base64.b64decode(self.keys, validate=True), self.organisation, "approval")


def approve(identity: Identity, organisation: str, proposal: bytes, public: bytes, policy: str) -> Signed:
    """Sign an approval of a proposal, given as received, with the public half of this party's run keys."""
    expires = min(time.time() + VALID, Proposal.decode(proposal).valid_until)
    digests = (hashlib.sha256(part).hexdigest() for part in (proposal, policy.encode()))
    keys = base64.b64encode(public).decode()
    approval = Approval(next(digests), organisation, keys, next(digests), expires)
    return identity.sign("approval", canonical(asdict(approval)))


@dataclass(frozen=True)
class Manifest:
    """A proposal and the approvals of all its parties, in the job's order."""

    proposal: bytes
    approvals: tuple[Signed, ...]

    def encode(self) -> bytes:
        """Return its bytes."""
        approvals = [approval.to_json() for approval in self.approvals]
        return canonical({"proposal": base64.b64encode(self.proposal).decode(), "approvals": approvals})

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Return the manifest; PeerFault(coordinator) if it is malformed."""
        fields = _fields(data, {"proposal": str, "approvals": list}, COORDINATOR, "manifest")
        proposal = _parsed(lambda: base64.b64decode(fields["proposal"], validate=True), COORDINATOR, "manifest")
        if not all(isinstance(approval, dict) for approval in fields["approvals"]):
            raise PeerFault(COORDINATOR, "sent a malformed manifest")
        return cls(proposal, tuple(Signed.from_json(approval, COORDINATOR) for approval in fields["approvals"]))


def digest(manifest: bytes) -> bytes:
    """Return M, 32 bytes."""
    return hashlib.sha256(manifest).digest()


def verify(
    data: bytes, *, proposal: bytes, mine: Signed, me: str, parties: Sequence[str], pins: Mapping[str, str]
) -> dict[str, bytes]:
    """Check a manifest as one party does before it starts; return the public run keys of each peer.

    Args:
        proposal: the bytes that this party approved; `mine`: its approval.
        pins: organisation -> trusted fingerprint.

    Raises:
        PeerFault: it is another run than approved, or an approval is missing, altered, expired or not by its party.
        Misuse: this side trusts no identity of a party.
    """
    manifest = Manifest.decode(data)
    if manifest.proposal != proposal:
        raise PeerFault(COORDINATOR, "sent the manifest of another run than the one approved here")
    if len(manifest.approvals) != len(parties):
        raise PeerFault(COORDINATOR, "sent a manifest without an approval of every party")
    public = {}
    for party, signed in zip(parties, manifest.approvals, strict=True):
        if party == me:
            if signed != mine:
                raise PeerFault(COORDINATOR, f"sent a manifest with an approval of {me} that is not its own")
            continue
        public[party] = _approved(signed, party, proposal, pin_of(pins, party)).public()
        split_public(party, public[party])
    return public


def _approved(signed: Signed, party: str, proposal: bytes, pin: str) -> Approval:
    kinds = {"proposal": str, "organisation": str, "keys": str, "policy": str, "expires": float}
    approval = Approval(**_fields(signed.opened("approval", party, pin), kinds, party, "approval"))
    if approval.organisation != party or approval.proposal != hashlib.sha256(proposal).hexdigest():
        raise PeerFault(party, "approved another run than this one")
    if approval.expires < time.time():
        raise PeerFault(party, "approved this run for a time that is over: submit the job anew")
    return approval


def pin_of(pins: Mapping[str, str], party: str) -> str:
    """Return the trusted fingerprint of a party; Misuse if there is none."""
    if party not in pins:
        raise Misuse(f"no identity of {party} is trusted here: compare fingerprints, then add it to pins.toml")
    return pins[party]


@dataclass(frozen=True)
class Final:
    """What an organisation signs when its part has ended."""

    manifest: str
    organisation: str
    outcome: str
    ledger: str


def conclude(identity: Identity, organisation: str, manifest: bytes, ledger: Sequence[Mapping[str, Any]]) -> Signed:
    """Sign that this party's part of the run is finished, and what its ledger was."""
    ledger_digest = hashlib.sha256(canonical(list(ledger))).hexdigest()
    final = Final(digest(manifest).hex(), organisation, "finished", ledger_digest)
    return identity.sign("final", canonical(asdict(final)))


def read_final(payload: bytes, party: str, manifest: bytes) -> Final:
    """Return what a party signed; PeerFault unless it is about this manifest and by this party."""
    kinds = dict.fromkeys(("manifest", "organisation", "outcome", "ledger"), str)
    final = Final(**_fields(payload, kinds, party, "final"))
    if final.organisation != party or final.manifest != digest(manifest).hex():
        raise PeerFault(party, "finished another run than this one")
    return final


def _fields(data: bytes, kinds: Mapping[str, type], sender: str, what: str) -> dict[str, Any]:
    """Return a JSON object that has exactly these fields of exactly these types."""
    value = _parsed(lambda: json.loads(data), sender, what)
    if not isinstance(value, dict) or {key: type(entry) for key, entry in value.items()} != dict(kinds):
        raise PeerFault(sender, f"sent a malformed {what}")
    return value


def _parsed(parse: Callable[[], T], sender: str, what: str) -> T:
    try:
        return parse()
    except (ValueError, RecursionError):
        raise PeerFault(sender, f"sent a malformed {what}") from None
