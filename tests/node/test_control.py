"""Notes between nodes and the manifest that binds a run: whatever is altered, missing or malformed is named."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest

from engine.errors import LinkLost, Misuse, PeerFault, Refused
from engine.runtime.noise import RunKeys
from node import control, manifest, wire
from node.control import Failed, Progress, Propose, Welcome
from node.keys import Identity, Signed, fingerprint
from node.manifest import Manifest, Proposal

PARTIES = ("bank", "telco")
PROPOSAL = Proposal("fed", "0" * 32, "run-1", {"kind": "vertical"}, "ann", 4e9)


@pytest.mark.parametrize(
    "message",
    [
        Propose("ab", b"\x00\xff"),
        Welcome(5.0),
        Progress("ab", "train", 1, 2, {"loss": 0.25}),
        Failed("ab", "Refused", "telco", "no: é"),
        control.Beat(),
        control.Event(1, 2.5, "state", "", {"a": [None, True]}),
    ],
)
def test_a_note_comes_back_as_it_was(message: object) -> None:
    assert control.decode(control.encode(message), (type(message),), "bank") == message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        '{"type": "Welcome"}',
        '{"type": "Welcome", "heartbeat": 5}',
        '{"type": "Welcome", "heartbeat": "5"}',
        '{"type": "Welcome", "heartbeat": 5.0, "more": 1}',
        '{"type": "Propose", "run": "ab", "proposal": "%"}',
        '{"type": "Propose", "run": true, "proposal": ""}',
        '{"type": "Beat"}',
        '{"type": []}',
        "[" * 100_000,
    ],
)
def test_a_malformed_or_unexpected_note_is_the_senders_fault(text: str) -> None:
    with pytest.raises(PeerFault, match="bank sent a malformed"):
        control.decode(wire.pack(text) if text else b"\xff", (Welcome, Propose), "bank")


@pytest.mark.parametrize(
    "error", [Misuse("a b"), PeerFault("telco", "lied"), LinkLost("telco", "x"), Refused("t", "r")]
)
def test_an_error_crosses_the_wire_whole(error: Exception) -> None:
    back = Failed.of("ab", error, "bank").error("bank")
    assert (type(back), str(back)) == (type(error), str(error))


def test_a_defect_inside_keeps_its_text_to_itself() -> None:
    assert "secret" not in str(Failed.of("ab", ValueError("secret"), "bank").error("bank"))


@dataclass
class Signing:
    """Two organisations that trust each other, and what they approved."""

    identities: dict[str, Identity]
    keys: dict[str, bytes]
    approvals: dict[str, Signed]
    proposal: bytes

    def manifest(self) -> Manifest:
        return Manifest(self.proposal, tuple(self.approvals.values()))

    def verify(self, data: Manifest, **changes: Any) -> dict[str, bytes]:
        pins = {name: fingerprint(identity.public) for name, identity in self.identities.items()}
        options = {"proposal": self.proposal, "mine": self.approvals["bank"], "me": "bank", "parties": PARTIES}
        return manifest.verify(data.encode(), **{"pins": pins, **options, **changes})


@pytest.fixture(scope="module")
def signing() -> Signing:
    identities = {name: Identity.generate() for name in PARTIES}
    keys = {name: RunKeys.generate().public() for name in PARTIES}
    proposal = PROPOSAL.encode()
    approvals = {n: manifest.approve(identities[n], n, proposal, keys[n], "[[allow]]") for n in PARTIES}
    return Signing(identities, keys, approvals, proposal)


def test_a_manifest_gives_the_peers_run_keys(signing: Signing) -> None:
    assert signing.verify(Manifest.decode(signing.manifest().encode())) == {"telco": signing.keys["telco"]}


def test_what_a_malicious_coordinator_could_show_is_noticed(signing: Signing) -> None:
    good = signing.manifest()
    bank, telco = good.approvals
    other = replace(PROPOSAL, job={"kind": "other"}).encode()
    stranger = manifest.approve(Identity.generate(), "telco", good.proposal, signing.keys["telco"], "")
    expired = replace(PROPOSAL, valid_until=1.0).encode()
    late = manifest.approve(signing.identities["telco"], "telco", expired, signing.keys["telco"], "")
    old_mine = manifest.approve(signing.identities["bank"], "bank", expired, signing.keys["bank"], "")
    again = manifest.approve(signing.identities["bank"], "bank", good.proposal, signing.keys["bank"], "")
    as_telco = manifest.approve(signing.identities["telco"], "bank", good.proposal, signing.keys["telco"], "")
    low = manifest.approve(signing.identities["telco"], "telco", good.proposal, bytes(7), "")
    for bad, sentence, changes in (
        (replace(good, proposal=other), "another run than the one approved here", {}),
        (replace(good, approvals=(bank,)), "without an approval of every party", {}),
        (replace(good, approvals=(telco, bank)), "approval of bank that is not its own", {}),
        (replace(good, approvals=(again, telco)), "approval of bank that is not its own", {}),
        (replace(good, approvals=(bank, stranger)), "not the one trusted", {}),
        (replace(good, approvals=(bank, replace(telco, signature=bytes(64)))), "did not sign", {}),
        (replace(good, approvals=(bank, as_telco)), "telco approved another run", {}),
        (replace(good, approvals=(bank, late)), "telco approved another run", {}),
        (Manifest(expired, (old_mine, late)), "time that is over", {"proposal": expired, "mine": old_mine}),
        (replace(good, approvals=(bank, low)), "telco", {}),
    ):
        with pytest.raises(PeerFault, match=sentence):
            signing.verify(bad, **changes)
    with pytest.raises(Misuse, match=r"telco is trusted here: .*pins\.toml"):
        signing.verify(good, pins={})


def test_a_final_is_about_one_manifest_and_ledger(signing: Signing) -> None:
    data, ledger = signing.manifest().encode(), [{"sender": "bank"}]
    final = manifest.conclude(signing.identities["bank"], "bank", data, ledger)
    assert manifest.read_final(final.payload, "bank", data).outcome == "finished"
    for party, other in (("telco", data), ("bank", data + b" ")):
        with pytest.raises(PeerFault, match="finished another run"):
            manifest.read_final(final.payload, party, other)


@pytest.mark.parametrize("change", [{"run": "zz"}, {"run": 3}, {"valid_until": 1}, {"more": 1}])
def test_a_malformed_proposal_is_the_coordinators_fault(change: dict[str, object]) -> None:
    with pytest.raises(PeerFault, match="coordinator sent a malformed proposal"):
        Proposal.decode(json.dumps({**asdict(PROPOSAL), **change}).encode())
