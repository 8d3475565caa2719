"""Keys: the federation's certificates for the way to the coordinator, and the organisations' identities.

    root (P-256, 10 years)  >  issuer (1 year)  >  coordinator, worker and operator certificates (1 year)

A certificate opens the coordinator's door and nothing else. What organisations promise each other is signed with their
Ed25519 identities, which each pins for itself: a coordinator that issues itself certificates gains no identity.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from engine.errors import Misuse, PeerFault

# The name in the coordinator's certificate, wherever it listens: only the federation's own root can vouch for it.
SERVER_NAME = "coordinator.synergos"
_YEAR = datetime.timedelta(days=365)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_URI = re.compile(r"synergos://([^/]+)/(?:org/([^/]+)/worker|(operator))/([^/]+)")
PEM = serialization.Encoding.PEM
FINGERPRINT = re.compile("[A-Z2-7]{4}(-[A-Z2-7]{4}){7}")


def require_name(name: str, what: str) -> str:
    """Return the name; Misuse unless it is letters, digits, '_', '-' and '.', 64 at most."""
    if not _NAME.fullmatch(name):
        raise Misuse(f"{what} {name!r} is no valid name: use letters, digits, '_', '-' and '.', 64 at most")
    return name


@dataclass(frozen=True)
class Caller:
    """Who a client certificate says it is: a worker of an organisation, or an operator (organisation "")."""

    federation: str
    organisation: str
    name: str


def caller(uris: Sequence[bytes]) -> Caller | None:
    """Return who the URIs of a verified certificate name, or None if that is not one of Synergos' names."""
    found = _URI.fullmatch(uris[0].decode("ascii", "replace")) if len(uris) == 1 else None
    return Caller(found[1], found[2] or "", found[4]) if found else None


def worker_uri(federation: str, organisation: str, worker: str) -> str:
    """Return the name in a worker's certificate."""
    return f"synergos://{federation}/org/{organisation}/worker/{worker}"


def operator_uri(federation: str, operator: str) -> str:
    """Return the name in an operator's certificate."""
    return f"synergos://{federation}/operator/{operator}"


@dataclass(frozen=True)
class Tls:
    """What one side of mutual TLS needs, as PEM: the root it trusts, its own chain and private key."""

    root: bytes
    chain: bytes
    key: bytes


class Authority:
    """A federation's root and issuer. After `init` the root's key may be taken off the machine."""

    def __init__(self, federation: str) -> None:
        self.root_key, self.issuer_key = _p256(), _p256()
        root_name, issuer_name = _subject(f"{federation} root"), _subject(f"{federation} issuer")
        self.root = _certificate(root_name, self.root_key, root_name, self.root_key, 10 * _YEAR, _authority(1))
        self.issuer = _certificate(issuer_name, self.issuer_key, root_name, self.root_key, _YEAR, _authority(0))

    @property
    def root_pem(self) -> bytes:
        """The certificate that everybody in the federation trusts."""
        return self.root.public_bytes(PEM)

    def coordinator(self) -> Tls:
        """Issue the coordinator's certificate."""
        return self._leaf("coordinator", x509.DNSName(SERVER_NAME), ExtendedKeyUsageOID.SERVER_AUTH)

    def client(self, uri: str) -> Tls:
        """Issue a client certificate for `worker_uri` or `operator_uri`."""
        return self._leaf(uri.rsplit("/", 1)[1], x509.UniformResourceIdentifier(uri), ExtendedKeyUsageOID.CLIENT_AUTH)

    def _leaf(self, subject: str, name: x509.GeneralName, usage: x509.ObjectIdentifier) -> Tls:
        key = _p256()
        extensions = (
            x509.BasicConstraints(False, None),
            x509.ExtendedKeyUsage([usage]),
            x509.SubjectAlternativeName([name]),
            _usage(signing_certificates=False),
        )
        leaf = _certificate(_subject(subject), key, self.issuer.subject, self.issuer_key, _YEAR, extensions)
        return Tls(self.root_pem, leaf.public_bytes(PEM) + self.issuer.public_bytes(PEM), private_pem(key))


def private_pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    """Return a private key as unencrypted PKCS#8; it belongs in a file that only its owner reads."""
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _usage(signing_certificates: bool) -> x509.KeyUsage:
    other = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    return x509.KeyUsage(
        digital_signature=not signing_certificates,
        key_cert_sign=signing_certificates,
        crl_sign=signing_certificates,
        decipher_only=False,
        **other,
    )


def _authority(depth: int) -> tuple[x509.ExtensionType, ...]:
    return x509.BasicConstraints(True, depth), _usage(signing_certificates=True)


def _certificate(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    life: datetime.timedelta,
    extensions: tuple[x509.ExtensionType, ...],
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # clocks differ a little
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    for extension in extensions:
        critical = isinstance(extension, (x509.BasicConstraints, x509.KeyUsage))
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())


def fingerprint(public: bytes) -> str:
    """Return what partners read to each other: 160 bits of an identity's hash, base32 in eight groups of four."""
    text = base64.b32encode(hashlib.sha256(b"synergos/identity/1" + public).digest()).decode()[:32]
    return "-".join(text[at : at + 4] for at in range(0, 32, 4))


@dataclass(frozen=True)
class Signed:
    """A payload under an organisation's signature; verified as received, then decoded, never encoded again.

    The signature is over "synergos/1" || u32 length of kind || kind || u32 length of payload || payload.
    """

    kind: str
    payload: bytes
    key: bytes
    signature: bytes

    def opened(self, kind: str, organisation: str, pin: str) -> bytes:
        """Return the payload.

        Raises:
            PeerFault: it is of another kind, by another key than the one pinned, or was altered.
        """
        if self.kind != kind:
            raise PeerFault(organisation, f"signed another thing than a {kind}")
        if fingerprint(self.key) != pin:
            raise PeerFault(organisation, f"signed its {kind} with an identity that is not the one trusted here")
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(self.signature, _signing_text(kind, self.payload))
        except (InvalidSignature, ValueError):
            raise PeerFault(organisation, f"did not sign this {kind}: it was altered on the way") from None
        return self.payload

    def to_json(self) -> dict[str, str]:
        """Return JSON-able data."""
        binary = {"payload": self.payload, "key": self.key, "signature": self.signature}
        return {"kind": self.kind, **{name: base64.b64encode(value).decode() for name, value in binary.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], sender: str) -> Signed:
        """Return what `to_json` gave; PeerFault(sender, ...) if it is something else."""
        try:
            if set(data) != {"kind", "payload", "key", "signature"} or not isinstance(data["kind"], str):
                raise ValueError
            binary = {name: base64.b64decode(data[name], validate=True) for name in ("payload", "key", "signature")}
        except (ValueError, TypeError):
            raise PeerFault(sender, "sent a malformed signed object") from None
        return cls(data["kind"], **binary)


class Identity:
    """An organisation's Ed25519 identity; only its supervisor holds it."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> Identity:
        """Return a fresh identity."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> Identity:
        """Return the identity in a file's content; Misuse if there is none."""
        try:
            key = serialization.load_pem_private_key(pem, None)
        except (ValueError, TypeError):
            raise Misuse("the identity file holds no private key; restore it from your backup") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise Misuse("the identity file holds another kind of key than Ed25519; restore it from your backup")
        return cls(key)

    def to_pem(self) -> bytes:
        """Return the content of the identity's file."""
        return private_pem(self._key)

    def sign(self, kind: str, payload: bytes) -> Signed:
        """Sign a payload as a thing of this kind."""
        return Signed(kind, payload, self.public, self._key.sign(_signing_text(kind, payload)))


def _signing_text(kind: str, payload: bytes) -> bytes:
    name = kind.encode()
    return b"synergos/1" + struct.pack(">I", len(name)) + name + struct.pack(">I", len(payload)) + payload
