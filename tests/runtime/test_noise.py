"""The handshake against published vectors, its agreement in both roles, and that anything altered fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.errors import Misuse, PeerFault
from engine.runtime import noise
from engine.runtime.noise import Handshake, Initiator, Records, RunKeys, Session, respond

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "noise_kkpsk2.json").read_text())["vectors"]
PROLOGUE = b"synergos/e2e/1"


@pytest.fixture(scope="module")
def keys() -> tuple[RunKeys, RunKeys]:
    return RunKeys.generate(), RunKeys.generate()


def shake(
    keys: tuple[RunKeys, RunKeys], prologue: tuple[bytes, bytes] = (PROLOGUE, PROLOGUE)
) -> tuple[Session, Session]:
    mine, theirs = keys
    initiator = Initiator(mine, "telco", theirs.public(), prologue[0])
    answer, there = respond(theirs, "bank", mine.public(), prologue[1], initiator.message, b"hello")
    here, payload = initiator.finish(answer)
    assert payload == b"hello"
    return here, there


def flip(data: bytes, bit: int) -> bytes:
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def side(vector: dict[str, str], who: str, *, initiator: bool) -> Handshake:
    part = {k: bytes.fromhex(vector[f"{who}_{k}"]) for k in ("static", "ephemeral", "remote_static", "prologue")}
    return Handshake(
        X25519PrivateKey.from_private_bytes(part["static"]),
        X25519PublicKey.from_public_bytes(part["remote_static"]),
        part["prologue"],
        X25519PrivateKey.from_private_bytes(part["ephemeral"]),
        initiator=initiator,
    )


@pytest.mark.parametrize("vector", VECTORS)
def test_published_vectors(vector):
    psk = bytes.fromhex(vector["init_psks"][0])
    messages = [(bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in vector["messages"]]
    here, there = side(vector, "init", initiator=True), side(vector, "resp", initiator=False)
    assert here.write_first(messages[0][0]) == messages[0][1]
    assert there.read_first(messages[0][1]) == messages[0][0]
    assert there.write_second(messages[1][0], psk) == messages[1][1]
    assert here.read_second(messages[1][1], psk) == messages[1][0]
    assert here.hash == there.hash == bytes.fromhex(vector["handshake_hash"])
    assert here.split() == there.split()
    for i, (plain, sealed) in enumerate(messages[2:]):
        key = here.split()[i % 2]
        assert AESGCM(key).decrypt(bytes(4) + (i // 2).to_bytes(8, "big"), sealed, b"") == plain


def test_both_sides_share_keys_and_no_two_keys_are_equal(keys):
    here, there = shake(keys)
    header = (5, 1, 0, 1, 0)
    pairs = [
        (here.send_data, there.receive_data),
        (there.send_data, here.receive_data),
        (here.send_control, there.receive_control),
        (there.send_control, here.receive_control),
    ]
    for i, (sender, _) in enumerate(pairs):
        sealed = sender.seal(*header, [b"to ", b"you"])
        opened = [receiver.open(*header, sealed) for _, receiver in pairs]
        assert opened == [b"to you" if i == j else None for j in range(4)]


def test_each_handshake_has_fresh_keys(keys):
    one, two = shake(keys)[0], shake(keys)[1]
    assert two.receive_data.open(5, 1, 0, 1, 0, one.send_data.seal(5, 1, 0, 1, 0, [b"x"])) is None


def test_another_prologue_fails(keys):
    with pytest.raises(PeerFault, match="different manifest"):
        shake(keys, (PROLOGUE, PROLOGUE + b"!"))


def test_a_stranger_fails(keys):
    mine, theirs = keys
    stranger = Initiator(RunKeys.generate(), "telco", theirs.public(), PROLOGUE)
    with pytest.raises(PeerFault, match="bank failed the handshake"):
        respond(theirs, "bank", mine.public(), PROLOGUE, stranger.message)


def test_a_wrong_kem_key_fails_at_message_two(keys):
    mine, theirs = keys
    other = RunKeys(theirs.dh, RunKeys.generate().kem)
    initiator = Initiator(mine, "telco", theirs.public(), PROLOGUE)
    answer, _ = respond(other, "bank", mine.public(), PROLOGUE, initiator.message)
    with pytest.raises(PeerFault, match="telco failed the handshake"):
        initiator.finish(answer)


@pytest.mark.parametrize("bit", [0, 255, 8 * 32, 8 * 600 + 3, -1])
def test_a_flipped_bit_in_message_one_fails(keys, bit):
    mine, theirs = keys
    message = Initiator(mine, "telco", theirs.public(), PROLOGUE).message
    with pytest.raises(PeerFault):
        respond(theirs, "bank", mine.public(), PROLOGUE, flip(message, bit % (8 * len(message))))


@pytest.mark.parametrize("bit", [0, 8 * 32, -1])
def test_a_flipped_bit_in_message_two_fails(keys, bit):
    mine, theirs = keys
    initiator = Initiator(mine, "telco", theirs.public(), PROLOGUE)
    answer, _ = respond(theirs, "bank", mine.public(), PROLOGUE, initiator.message)
    with pytest.raises(PeerFault):
        initiator.finish(flip(answer, bit % (8 * len(answer))))


@pytest.mark.parametrize("size", [0, 31, 32, 47])
def test_short_messages_fail(keys, size):
    mine, theirs = keys
    with pytest.raises(PeerFault):
        respond(theirs, "bank", mine.public(), PROLOGUE, bytes(size))
    with pytest.raises(PeerFault):
        Initiator(mine, "telco", theirs.public(), PROLOGUE).finish(bytes(size))


def test_a_kem_ciphertext_of_another_size_fails(keys):
    mine, theirs = keys
    remote, _ = noise.split_public("telco", theirs.public())
    raw = Handshake(mine.dh, remote, PROLOGUE, noise.fresh_ephemeral(), initiator=True)
    with pytest.raises(PeerFault):
        respond(theirs, "bank", mine.public(), PROLOGUE, raw.write_first(b"short"))


def test_an_all_zero_key_is_refused(keys):
    mine, theirs = keys
    zero = bytes(32) + theirs.public()[32:]
    with pytest.raises(PeerFault, match="small order"):
        Initiator(mine, "telco", zero, PROLOGUE)
    message = Initiator(mine, "telco", theirs.public(), PROLOGUE).message
    with pytest.raises(PeerFault):
        respond(theirs, "bank", zero, PROLOGUE, message)
    with pytest.raises(PeerFault):
        respond(theirs, "bank", mine.public(), PROLOGUE, bytes(32) + message[32:])


def test_malformed_public_keys_are_refused(keys):
    with pytest.raises(PeerFault, match="1215 bytes"):
        Initiator(keys[0], "telco", keys[1].public()[:-1], PROLOGUE)


def test_run_keys_survive_storage_and_hide_in_repr(keys):
    again = RunKeys.from_secret(keys[0].secret())
    assert again.public() == keys[0].public()
    assert keys[0].secret().hex() not in repr(keys[0])
    with pytest.raises(Misuse):
        RunKeys.from_secret(b"short")


def test_every_header_field_and_bit_is_bound():
    sender, receiver = Records(bytes(32)), Records(bytes(32))
    header = [5, 1, 0, 1, 7]
    sealed = sender.seal(*header, [b"payload"])
    assert receiver.open(*header, sealed) == b"payload"
    for field in range(5):
        other = list(header)
        other[field] += 1
        assert receiver.open(*other, sealed) is None
    for bit in range(8 * len(sealed)):
        assert receiver.open(*header, flip(sealed, bit)) is None
    assert receiver.open(*header, b"") is None


def test_the_key_moves_on_after_so_many_records():
    sender, receiver = Records(bytes(32), rekey_every=4), Records(bytes(32), rekey_every=4)
    still = Records(bytes(32))
    sealed = [sender.seal(5, 1, 0, 1, seq, [b"x"]) for seq in range(9)]
    assert [still.open(5, 1, 0, 1, seq, s) for seq, s in enumerate(sealed)] == [b"x"] * 4 + [None] * 5
    assert [receiver.open(5, 1, 0, 1, seq, s) for seq, s in enumerate(sealed)] == [b"x"] * 9
    twice = Records(noise.rekey(noise.rekey(bytes(32))))
    assert twice.open(5, 1, 0, 1, 8, sealed[8]) == b"x"


def test_the_raw_handshake_reports_a_wrong_psk(keys):
    mine, theirs = keys
    here = Handshake(mine.dh, theirs.dh.public_key(), b"", noise.fresh_ephemeral(), initiator=True)
    there = Handshake(theirs.dh, mine.dh.public_key(), b"", noise.fresh_ephemeral(), initiator=False)
    there.read_first(here.write_first(b""))
    with pytest.raises(InvalidTag):
        here.read_second(there.write_second(b"", bytes(32)), b"\1" * 32)
