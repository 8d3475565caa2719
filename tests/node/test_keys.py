"""Certificates, identities, signatures, and the folders that `init` makes of them."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from engine.errors import Misuse, PeerFault
from node import folders, keys
from node.keys import Authority, Identity, Signed


def test_identity_round_trip_and_fingerprint() -> None:
    identity = Identity.generate()
    assert Identity.from_pem(identity.to_pem()).public == identity.public
    print_ = keys.fingerprint(identity.public)
    assert len(print_) == 39
    assert print_.count("-") == 7
    assert (
        keys.fingerprint(bytes(32)) == "FTZC-7DVZ-NH4J-EIOJ-O325-642N-LHFB-I3BA"
    )  # made with coreutils: sha256sum, base32


def test_a_signature_is_bound_to_kind_payload_and_pin() -> None:
    identity, other = Identity.generate(), Identity.generate()
    signed = Signed.from_json(identity.sign("approval", b"yes").to_json(), "bank")
    pin = keys.fingerprint(identity.public)
    assert signed.opened("approval", "bank", pin) == b"yes"
    for wrong, kind, trusted in (
        (replace(signed, payload=b"no"), "approval", pin),
        (replace(signed, signature=bytes(64)), "approval", pin),
        (replace(signed, kind="final"), "final", pin),
        (signed, "final", pin),
        (signed, "approval", keys.fingerprint(other.public)),
        (replace(signed, key=other.public), "approval", keys.fingerprint(other.public)),
    ):
        with pytest.raises(PeerFault, match="bank"):
            wrong.opened(kind, "bank", trusted)


@pytest.mark.parametrize("change", [{"payload": "%"}, {"payload": 3}, {"kind": 3}, {"more": ""}])
def test_a_malformed_signed_object_is_the_senders_fault(change: dict[str, object]) -> None:
    data = {**Identity.generate().sign("approval", b"yes").to_json(), **change}
    with pytest.raises(PeerFault, match="malformed"):
        Signed.from_json(data, "bank")


def test_certificates_name_their_holder_and_chain_to_the_root() -> None:
    authority = Authority("f")
    tls = authority.client(keys.worker_uri("f", "bank", "one"))
    leaf, issuer = x509.load_pem_x509_certificates(tls.chain)
    leaf.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(x509.load_pem_x509_certificate(tls.root))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = [uri.encode() for uri in names.get_values_for_type(x509.UniformResourceIdentifier)]
    assert keys.caller(uris) == keys.Caller("f", "bank", "one")
    assert keys.caller([keys.operator_uri("f", "ann").encode()]) == keys.Caller("f", "", "ann")
    assert keys.caller([b"synergos://f/org/bank"]) is None
    assert keys.caller([]) is None


def test_init_makes_folders_that_only_their_owner_reads(tmp_path: Path) -> None:
    target = folders.init(tmp_path / "fed", ["bank", "telco"], address="127.0.0.1:0")
    for path in (target, *target.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    bank, telco = (folders.worker_folder(target / "workers" / name) for name in ("bank", "telco"))
    assert bank.pins()["telco"] == keys.fingerprint(telco.identity().public)
    assert bank.policy().rules
    assert bank.data() == {}
    assert folders.coordinator_folder(target / "coordinator").federation == bank.federation
    assert folders.operator_folder(target / "operators" / "operator").coordinator == "127.0.0.1:0"
    with pytest.raises(Misuse, match="overwrites nothing"):
        folders.init(target, ["bank"])
    assert list(tmp_path.iterdir()) == [target]


def test_a_worker_folder_holds_nothing_secret_of_others(tmp_path: Path) -> None:
    target = folders.init(tmp_path / "fed", ["bank", "telco"])
    secrets = {p: p.read_bytes() for p in target.rglob("*.key")}
    assert len(set(secrets.values())) == len(secrets) == 2 + 1 + 1 + 2 * 2
    assert {p.name for p in (target / "workers" / "bank").iterdir()} == {
        "worker.toml", "policy.toml", "pins.toml", "identity.key", "root.pem", "tls.pem", "tls.key"
    }  # fmt: skip


def test_registered_data_are_read_anew(tmp_path: Path) -> None:
    target = folders.init(tmp_path / "fed", ["bank"])
    bank = folders.worker_folder(target / "workers" / "bank")
    bank.register({"customers 2026": 'C:\\data\\"new".csv', "b": "/x"})
    bank.register({"b": "/é"})
    assert bank.data() == {"customers 2026": 'C:\\data\\"new".csv', "b": "/é"}


@pytest.mark.parametrize(
    ("workers", "address", "sentence"),
    [
        ([], "127.0.0.1:7443", "at least one worker"),
        (["bank", "bank"], "127.0.0.1:7443", "name of its own"),
        (["a/b"], "127.0.0.1:7443", "no valid name"),
        (["bank"], "127.0.0.1", "no address"),
        (["bank"], "127.0.0.1:70000", "no address"),
    ],
)
def test_init_refuses_what_cannot_work(tmp_path: Path, workers: list[str], address: str, sentence: str) -> None:
    with pytest.raises(Misuse, match=sentence):
        folders.init(tmp_path / "fed", workers, address=address)
    assert not list(tmp_path.iterdir())


def test_a_wrong_settings_file_is_named(tmp_path: Path) -> None:
    target = folders.init(tmp_path / "fed", ["bank"])
    file = target / "coordinator" / "coordinator.toml"
    file.write_text('federation = "x"\nlisten = "127.0.0.1:1"\nheartbeat = "often"\n')
    with pytest.raises(Misuse, match=r"heartbeat in coordinator\.toml"):
        folders.coordinator_folder(target / "coordinator")
    with pytest.raises(Misuse, match="synergos init"):
        folders.worker_folder(tmp_path)
