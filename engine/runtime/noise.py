"""The end-to-end secret channel of two parties: its handshake and its records. Nothing here sends or receives.

    initiator, the lower index                     responder
    1  e1;  KEM ciphertext c to the responder  -->  psk = what c holds
    2                                          <--  e2;  both now share fresh keys, one per direction

`Noise_KKpsk2_25519_AESGCM_SHA256` (Noise rev. 34, sections 4.2, 5, 7.5, 9) with the run's X25519 keys as statics, known
to both sides beforehand. Payload 1 is an ML-KEM-768 ciphertext (FIPS 203) whose secret becomes the psk, so recorded
traffic stays closed unless X25519 *and* ML-KEM fall. The prologue binds whatever both sides must agree on: another
prologue, another key, or one flipped bit, and the first tag fails. Departure from Noise: records may exceed 64 KiB.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from engine.errors import Misuse, PeerFault
from engine.randomness import random_bytes
from engine.runtime.message import Buffer

NAME = b"Noise_KKpsk2_25519_AESGCM_SHA256"
PUBLIC_SIZE = 32 + 1184
SECRET_SIZE = 32 + 64
_REKEY_EVERY = 1 << 16
_MAX_NONCE = 2**64 - 1


@dataclass(frozen=True)
class RunKeys:
    """What a party is known by within one run: an X25519 pair and an ML-KEM-768 pair, deleted when the run ends."""

    dh: X25519PrivateKey
    kem: MLKEM768PrivateKey

    @classmethod
    def generate(cls) -> RunKeys:
        """Return fresh keys."""
        return cls.from_secret(random_bytes(SECRET_SIZE).tobytes())

    @classmethod
    def from_secret(cls, secret: bytes) -> RunKeys:
        """Return the keys that `secret` gave out; Misuse if it is not 96 bytes."""
        if len(secret) != SECRET_SIZE:
            raise Misuse(
                f"stored run keys are {SECRET_SIZE} bytes, not {len(secret)}: they are damaged or of another kind"
            )
        return cls(X25519PrivateKey.from_private_bytes(secret[:32]), MLKEM768PrivateKey.from_seed_bytes(secret[32:]))

    def secret(self) -> bytes:
        """Return the 96 secret bytes (X25519 scalar, ML-KEM seed), to hand to the run's own process and nobody else."""
        return self.dh.private_bytes_raw() + self.kem.private_bytes_raw()

    def public(self) -> bytes:
        """Return the 1216 public bytes that peers need: X25519 key, ML-KEM-768 key."""
        return self.dh.public_key().public_bytes_raw() + self.kem.public_key().public_bytes_raw()


class Records:
    """Seals or opens the records of one direction with AES-256-GCM: nonce 0^32 || u64 sequence number.

    The key moves on (Noise REKEY) every `rekey_every` records, so one key seals at most 2**16 * 512 KiB = 32 GiB.
    Sequence numbers must then come in order; without `rekey_every` they may have gaps, as control records do.
    """

    def __init__(self, key: bytes, rekey_every: int | None = None) -> None:
        self._key = key
        self._cipher = AESGCM(key)
        self._every = rekey_every
        self._generation = 0

    def seal(self, kind: int, epoch: int, sender: int, to: int, seq: int, buffers: Sequence[Buffer]) -> bytes:
        """Return the sealed concatenation of the buffers, 16 bytes longer; never call twice with one `seq`."""
        cipher = self._cipher_at(seq)
        return cipher.encrypt(_nonce(seq), b"".join(buffers), _associated(kind, epoch, sender, to, seq))

    def open(self, kind: int, epoch: int, sender: int, to: int, seq: int, body: Buffer) -> bytes | None:
        """Return what was sealed, or None if body or header are not what the peer sealed."""
        try:
            return self._cipher_at(seq).decrypt(_nonce(seq), body, _associated(kind, epoch, sender, to, seq))
        except InvalidTag:
            return None

    def _cipher_at(self, seq: int) -> AESGCM:
        if self._every is not None:
            while self._generation < seq // self._every:
                self._key = rekey(self._key)
                self._cipher = AESGCM(self._key)
                self._generation += 1
        return self._cipher


class Session:
    """The four record keys of one pair and epoch: data and control, outwards and inwards."""

    def __init__(self, outward: bytes, inward: bytes) -> None:
        self.send_data = Records(outward, _REKEY_EVERY)
        self.receive_data = Records(inward, _REKEY_EVERY)
        self.send_control = Records(_control_key(outward))
        self.receive_control = Records(_control_key(inward))


class Initiator:
    """The side that speaks first.

    Args:
        peer: the other party, for blame.
        peer_public: its 1216 public bytes.
        prologue: whatever both sides must agree on.

    Raises:
        PeerFault: the peer's public key is malformed, or its X25519 part is a point of small order.
    """

    def __init__(self, keys: RunKeys, peer: str, peer_public: bytes, prologue: bytes) -> None:
        self._peer = peer
        remote, kem = split_public(peer, peer_public)
        self._psk, ciphertext = kem.encapsulate()
        self._handshake = Handshake(keys.dh, remote, prologue, fresh_ephemeral(), initiator=True)
        try:
            self.message = self._handshake.write_first(ciphertext)
        except ValueError:
            raise PeerFault(peer, "has an X25519 key of small order") from None

    def finish(self, answer: Buffer) -> tuple[Session, bytes]:
        """Return the session and the payload that came with the responder's answer; PeerFault if a tag fails."""
        try:
            payload = self._handshake.read_second(bytes(answer), self._psk)
        except (InvalidTag, ValueError):
            raise _mismatch(self._peer) from None
        first, second = self._handshake.split()
        return Session(first, second), payload


def respond(
    keys: RunKeys, peer: str, peer_public: bytes, prologue: bytes, message: Buffer, payload: bytes = b""
) -> tuple[bytes, Session]:
    """Answer an initiator: return message 2, carrying `payload`, and the session.

    Raises:
        PeerFault: a key is malformed or of small order, or message 1 was made with another prologue or key.
    """
    remote, _ = split_public(peer, peer_public)
    handshake = Handshake(keys.dh, remote, prologue, fresh_ephemeral(), initiator=False)
    try:
        psk = keys.kem.decapsulate(handshake.read_first(bytes(message)))
        answer = handshake.write_second(payload, psk)
    except (InvalidTag, ValueError):
        raise _mismatch(peer) from None
    first, second = handshake.split()
    return answer, Session(second, first)


def split_public(peer: str, public: bytes) -> tuple[X25519PublicKey, MLKEM768PublicKey]:
    """Return the two public keys in a peer's 1216 bytes; PeerFault if they are malformed."""
    if len(public) != PUBLIC_SIZE:
        raise PeerFault(peer, f"has a public run key of {len(public)} bytes instead of {PUBLIC_SIZE}")
    try:
        return X25519PublicKey.from_public_bytes(public[:32]), MLKEM768PublicKey.from_public_bytes(public[32:])
    except ValueError:
        raise PeerFault(peer, "has a malformed public run key") from None


def fresh_ephemeral() -> X25519PrivateKey:
    """Return an X25519 key for one handshake."""
    return X25519PrivateKey.from_private_bytes(random_bytes(32).tobytes())


class Handshake:
    """KKpsk2 itself: `-> s`, `<- s`, then `-> e, es, ss` and `<- e, ee, se, psk` (Noise sections 5.2, 5.3, 7.5, 9).

    Its methods raise InvalidTag if a tag fails and ValueError for a short message or a key of small order.
    """

    def __init__(
        self,
        static: X25519PrivateKey,
        remote: X25519PublicKey,
        prologue: bytes,
        ephemeral: X25519PrivateKey,
        *,
        initiator: bool,
    ) -> None:
        self._static, self._remote, self._ephemeral = static, remote, ephemeral
        self.hash = NAME  # exactly 32 bytes, so it is not hashed
        self._chain = NAME
        self._key = b""
        self._nonce = 0
        self._mix_hash(prologue)
        statics = [static.public_key().public_bytes_raw(), remote.public_bytes_raw()]
        for public in statics if initiator else reversed(statics):
            self._mix_hash(public)

    def write_first(self, payload: bytes) -> bytes:
        """Return message 1."""
        public = self._mix_ephemeral(self._ephemeral.public_key().public_bytes_raw())
        self._mix_key(self._ephemeral.exchange(self._remote))  # es
        self._mix_key(self._static.exchange(self._remote))  # ss
        return public + self._encrypt(payload)

    def read_first(self, message: bytes) -> bytes:
        """Take message 1; return its payload."""
        self._theirs = X25519PublicKey.from_public_bytes(self._mix_ephemeral(message[:32]))
        self._mix_key(self._static.exchange(self._theirs))  # es
        self._mix_key(self._static.exchange(self._remote))  # ss
        return self._decrypt(message[32:])

    def write_second(self, payload: bytes, psk: bytes) -> bytes:
        """Return message 2."""
        public = self._mix_ephemeral(self._ephemeral.public_key().public_bytes_raw())
        self._mix_key(self._ephemeral.exchange(self._theirs))  # ee
        self._mix_key(self._ephemeral.exchange(self._remote))  # se
        self._mix_psk(psk)
        return public + self._encrypt(payload)

    def read_second(self, message: bytes, psk: bytes) -> bytes:
        """Take message 2; return its payload."""
        theirs = X25519PublicKey.from_public_bytes(self._mix_ephemeral(message[:32]))
        self._mix_key(self._ephemeral.exchange(theirs))  # ee
        self._mix_key(self._static.exchange(theirs))  # se
        self._mix_psk(psk)
        return self._decrypt(message[32:])

    def split(self) -> tuple[bytes, bytes]:
        """Return the key from initiator to responder and the one back."""
        first, second = _hkdf(self._chain, b"", 2)
        return first, second

    def _mix_hash(self, data: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + data).digest()

    def _mix_key(self, secret: bytes) -> None:
        self._chain, self._key = _hkdf(self._chain, secret, 2)
        self._nonce = 0

    def _mix_ephemeral(self, public: bytes) -> bytes:
        self._mix_hash(public)
        self._mix_key(public)  # section 9.2: with a psk, ephemerals also go into the key
        return public

    def _mix_psk(self, psk: bytes) -> None:
        self._chain, extra, self._key = _hkdf(self._chain, psk, 3)
        self._mix_hash(extra)
        self._nonce = 0

    def _encrypt(self, plain: bytes) -> bytes:
        sealed = AESGCM(self._key).encrypt(_nonce(self._nonce), plain, self.hash)
        self._mix_hash(sealed)
        self._nonce += 1
        return sealed

    def _decrypt(self, sealed: bytes) -> bytes:
        plain = AESGCM(self._key).decrypt(_nonce(self._nonce), sealed, self.hash)
        self._mix_hash(sealed)
        self._nonce += 1
        return plain


def rekey(key: bytes) -> bytes:
    """Return the next key (Noise section 4.2, REKEY)."""
    return AESGCM(key).encrypt(_nonce(_MAX_NONCE), bytes(32), b"")[:32]


def _hkdf(chain: bytes, secret: bytes, outputs: int) -> list[bytes]:
    """Noise section 4.3."""
    temporary = hmac.digest(chain, secret, "sha256")
    out = [b""]
    for i in range(1, outputs + 1):
        out.append(hmac.digest(temporary, out[-1] + bytes([i]), "sha256"))
    return out[1:]


def _control_key(data_key: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=None, info=b"ctl").derive(data_key)


def _nonce(counter: int) -> bytes:
    return struct.pack(">IQ", 0, counter)


def _associated(kind: int, epoch: int, sender: int, to: int, seq: int) -> bytes:
    return struct.pack(">IIIIQ", kind, epoch, sender, to, seq)


def _mismatch(peer: str) -> PeerFault:
    return PeerFault(peer, "failed the handshake: it has a different manifest or a wrong key")
