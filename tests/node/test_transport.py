"""Attachments over a real relay with mutual TLS on loopback: what arrives, what blocks, and how everything ends."""

from __future__ import annotations

import asyncio
import datetime
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from engine.errors import EngineError, LinkLost, Misuse, PeerFault, Refused
from engine.runtime.noise import RunKeys
from engine.runtime.party import Party
from node import wire
from node.attach import Attachment
from node.errors_status import STATUS, Fault
from node.relay import Relay
from node.wire import Header, Kind

RUN = bytes(range(16))
DIGEST = bytes(32)
WINDOW = 256 << 10
BEAT = 0.3
PARTIES = ("bank", "telco", "shop")


@dataclass
class Certificates:
    """A throw-away root and what it has signed, as PEM."""

    federation: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.root = self._sign(self.key, self.federation, x509.BasicConstraints(True, None))
        self.root_pem = self.root.public_bytes(serialization.Encoding.PEM)

    def _sign(self, key: ec.EllipticCurvePrivateKey, name: str, *extensions: Any) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.federation)])
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, *names: x509.GeneralName) -> tuple[bytes, bytes]:
        """Return (private key, certificate) as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(key, "leaf", x509.SubjectAlternativeName(names))
        pem = serialization.Encoding.PEM
        secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return secret, certificate.public_bytes(pem)

    def worker(self, organisation: str, federation: str | None = None) -> tuple[bytes, bytes]:
        uri = f"synergos://{federation or self.federation}/org/{organisation}/worker/one"
        return self.issue(x509.UniformResourceIdentifier(uri))


class Server:
    """A relay served from a thread of its own."""

    def __init__(self, relay: Relay, certificates: Certificates) -> None:
        self.relay = relay
        self._identity = certificates.issue(x509.DNSName("localhost"))
        self._root = certificates.root_pem
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._started.wait(10)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = grpc.aio.server(options=wire.MESSAGE_OPTIONS)
        server.add_generic_rpc_handlers((self.relay.handler(),))
        credentials = grpc.ssl_server_credentials([self._identity], self._root, require_client_auth=True)
        self.address = f"localhost:{server.add_secure_port('localhost:0', credentials)}"
        await server.start()
        self._started.set()
        await self._stop.wait()
        await server.stop(0)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()


@dataclass
class Grid:
    """What tests need to attach parties."""

    server: Server
    certificates: Certificates
    keys: dict[str, RunKeys]
    identities: dict[str, tuple[bytes, bytes]]

    def credentials(self, party: str) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.certificates.root_pem, *self.identities[party])

    def attachment(self, me: str, parties: tuple[str, ...] = PARTIES[:2], **changes: Any) -> Attachment:
        values: dict[str, Any] = {
            "run": RUN,
            "parties": parties,
            "keys": self.keys[me],
            "peer_public": {p: self.keys[p].public() for p in parties if p != me},
            "manifest_digest": DIGEST,
            "heartbeat": BEAT,
            "patience": 20.0,
            "establish": 10.0,
        } | changes
        return Attachment(self.server.address, self.credentials(me), me=me, **values)

    def play(self, **roles: Callable[..., Any]) -> dict[str, Any]:
        """Run roles, each called with its links; return what each returned or raised."""
        parties, results = tuple(p for p in PARTIES if p in roles), {}

        def role(me: str) -> None:
            try:
                with self.attachment(me, parties) as attachment:
                    results[me] = roles[me](attachment.links())
            except EngineError as error:
                results[me] = error

        threads = [threading.Thread(target=role, args=(p,)) for p in parties]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads), "a role hangs"
        return results


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates("sg")


@pytest.fixture(scope="module")
def serve(certificates: Certificates) -> Iterator[Callable[..., Grid]]:
    """Returns a function that starts a relay, opens the run, and gives a grid."""
    keys = {p: RunKeys.generate() for p in PARTIES}
    identities = {p: certificates.worker(p) for p in PARTIES}
    servers: list[Server] = []

    def start(parties: tuple[str, ...] = PARTIES[:2], relay: Relay | None = None, **settings: Any) -> Grid:
        server = Server(relay or Relay("sg"), certificates)
        servers.append(server)
        server.relay.open(RUN, parties, **{"window": WINDOW, "heartbeat": BEAT} | settings)
        return Grid(server, certificates, keys, identities)

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [t.name for t in set(threading.enumerate()) - before if t.name.endswith(("reader", "pulse"))]
    assert not left


@contextmanager
def attached(grid: Grid, *parties: str, **changes: Any) -> Iterator[list[Attachment]]:
    with ExitStack() as stack:
        yield [stack.enter_context(grid.attachment(p, parties, **changes)) for p in parties]


def pattern(size: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def raised(call: Callable[[], object]) -> EngineError:
    with pytest.raises(EngineError) as caught:
        call()
    return caught.value


def test_messages_of_all_sizes_arrive_whole_and_in_order(serve):
    sizes = [0, 1, 64, 1 << 20, WINDOW // 4, WINDOW // 4 + 1, 20 << 20, 3]

    def bank(links):
        for size in sizes:
            data = pattern(size)
            links["telco"].put([data[: size // 3], b"", memoryview(data)[size // 3 :]])

    def telco(links):
        got = [links["bank"].take(20 << 20, 10.0) for _ in sizes]
        assert all(np.frombuffer(message, np.uint8).ctypes.data % 64 == 0 for message in got if len(message))
        return [bytes(message) == pattern(size) for message, size in zip(got, sizes, strict=True)]

    assert serve().play(bank=bank, telco=telco)["telco"] == [True] * len(sizes)


def test_both_may_send_before_they_receive(serve):
    size = 6 << 20

    def role(me, peer):
        def run(links):
            links[peer].put([pattern(size, len(me))])
            return bytes(links[peer].take(size, 10.0)) == pattern(size, len(peer))

        return run

    assert serve().play(bank=role("bank", "telco"), telco=role("telco", "bank")) == {"bank": True, "telco": True}


def test_parties_agree_over_it(serve):
    def role(me):
        return lambda links: Party(me, PARTIES[:2], links, []).agree({"plan": b"the same"})

    result = serve().play(bank=role("bank"), telco=role("telco"))
    assert len(result["bank"]) == 32
    assert result["bank"] == result["telco"]


def test_three_parties_each_with_each(serve):
    def role(me):
        def run(links):
            for peer in links:
                links[peer].put([me.encode() * 1000])
            return all(bytes(links[peer].take(1 << 20, 10.0)) == peer.encode() * 1000 for peer in links)

        return run

    result = serve(PARTIES).play(**{p: role(p) for p in PARTIES})
    assert result == dict.fromkeys(PARTIES, True)


def test_a_slow_reader_stops_the_sender(serve):
    grid = serve()
    with attached(grid, "bank", "telco") as (bank, telco):
        out, back = bank.links()["telco"], telco.links()["bank"]
        sender = threading.Thread(target=lambda: [out.put([pattern(100_000)]) for _ in range(20)])
        sender.start()
        time.sleep(4 * BEAT)  # signs of life pass a blocked link, too
        assert sender.is_alive()
        assert out._sent <= WINDOW
        assert all(bytes(back.take(100_000, 5.0)) == pattern(100_000) for _ in range(20))
        sender.join()


def test_a_message_over_the_limit_is_refused_before_it_is_held(serve):
    result = serve().play(
        bank=lambda links: (links["telco"].put([bytes(5000)]), links["telco"].take(10, 10.0)),
        telco=lambda links: links["bank"].take(4999, 10.0),
    )
    assert isinstance(result["telco"], PeerFault)
    assert "5,000 bytes where at most 4,999" in str(result["telco"])
    assert str(result["bank"]) == str(result["telco"])


def test_silence_and_a_reader_that_takes_nothing_end_in_link_lost(serve):
    with attached(serve(), "bank", "telco", patience=0.2) as (bank, telco):
        link = bank.links()["telco"]
        assert "sent nothing for 0.1 s" in str(raised(lambda: link.take(1, 0.1)))
        telco.links()
        assert "took nothing for 0.2 s" in str(raised(lambda: link.put([bytes(2 * WINDOW)])))


@pytest.mark.parametrize(
    "error",
    [
        Misuse("the column is not there: y"),
        PeerFault("bank", "sent a point that is none"),
        LinkLost("shop", "gone"),
        Refused("telco", "too few rows"),
    ],
)
def test_the_first_cause_reaches_everybody(serve, error):
    def waiting(peer):
        def role(links):
            links["telco"].put([b"here"])
            links[peer].take(1, 10.0)

        return role

    def telco(links):
        for peer in links:
            links[peer].take(4, 10.0)
        raise error

    result = serve(PARTIES).play(bank=waiting("shop"), telco=telco, shop=waiting("bank"))
    for party in PARTIES:
        assert (type(result[party]), str(result[party]), vars(result[party])) == (type(error), str(error), vars(error))


def test_a_defect_is_told_without_its_text(serve):
    grid = serve()
    with grid.attachment("bank") as bank:
        with grid.attachment("telco") as telco:
            link = bank.links()["telco"]
            telco.links()
            telco.fail(ValueError("secret"))
        error = raised(lambda: link.take(1, 5.0))
        assert str(error) == "telco failed inside with ValueError; its own log says more"


def test_closing_is_orderly(serve):
    def bank(links):
        links["telco"].put([pattern(3 << 20)])
        links["telco"].close("nothing more to say")
        return raised(lambda: links["telco"].put([b"x"]))

    def telco(links):
        time.sleep(0.3)  # bank has left by now, except for what the window holds back
        assert bytes(links["bank"].take(3 << 20, 10.0)) == pattern(3 << 20)
        return raised(lambda: links["bank"].take(1, 10.0))

    result = serve().play(bank=bank, telco=telco)
    assert isinstance(result["bank"], Misuse)
    assert str(result["telco"]) == "bank was lost: it closed the link: nothing more to say"


CHILD = """
import sys, pathlib, grpc
from engine.runtime.noise import RunKeys
from engine.runtime.party import Party
from node.attach import Attachment
folder, address = pathlib.Path(sys.argv[1]), sys.argv[2]
names = ("root", "key", "cert", "run", "bank", "shop")
root, key, certificate, secret, bank, shop = [(folder / name).read_bytes() for name in names]
with Attachment(address, grpc.ssl_channel_credentials(root, key, certificate), run=bytes(range(16)), me="telco",
        parties=("bank", "telco", "shop"), keys=RunKeys.from_secret(secret), peer_public={"bank": bank, "shop": shop},
        manifest_digest=bytes(32)) as attachment:
    links = attachment.links()
    links["bank"].put([b"last words"])
    links["bank"].take(100, 10.0)
    print("ready", flush=True)
    links["bank"].take(1, 60.0)
"""


def test_a_killed_process_is_named_to_the_others(serve, tmp_path):
    grid = serve(PARTIES)
    key, certificate = grid.identities["telco"]
    files = {"root": grid.certificates.root_pem, "key": key, "cert": certificate, "run": grid.keys["telco"].secret()}
    for name, data in (files | {p: grid.keys[p].public() for p in ("bank", "shop")}).items():
        (tmp_path / name).write_bytes(data)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), grid.server.address],
        stdout=subprocess.PIPE,
        cwd=Path(wire.__file__).parents[1],
    )
    killed: list[float] = []

    def shop(links):
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGKILL)
        killed.append(time.monotonic())
        return raised(lambda: links["telco"].take(1, 10.0)), time.monotonic()

    def bank(links):
        assert bytes(links["telco"].take(100, 10.0)) == b"last words"
        links["telco"].put([b"heard"])
        return raised(lambda: links["telco"].take(1, 10.0)), time.monotonic()

    results: dict[str, Any] = {}

    def role(me: str, part: Callable[..., Any]) -> None:
        with grid.attachment(me, PARTIES) as attachment:
            results[me] = part(attachment.links())

    threads = [threading.Thread(target=role, args=pair) for pair in (("bank", bank), ("shop", shop))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    child.wait()
    child.stdout.close()
    for error, when in results.values():
        assert isinstance(error, LinkLost)
        assert error.peer == "telco"
        assert when - killed[0] < 3 * BEAT
    assert len(results) == 2


def test_a_stopped_relay_ends_every_call(serve):
    grid = serve()
    with attached(grid, "bank", "telco") as (bank, telco):
        link = bank.links()["telco"]
        telco.links()
        errors: list[EngineError] = []
        calls = [lambda: link.take(1, 20.0), lambda: link.put([bytes(2 * WINDOW)])]
        threads = [threading.Thread(target=lambda c=c: errors.append(raised(c))) for c in calls]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        grid.server.stop()
        for thread in threads:
            thread.join(5)
        assert [(type(e), e.peer) for e in errors] == [(LinkLost, "coordinator")] * 2


def test_a_relay_that_falls_silent_is_noticed(serve):
    class Silent(Relay):
        mute = False

        def _take(self, stream, header, body, frame):
            if not (self.mute and stream.index == 0):
                super()._take(stream, header, body, frame)

    relay = Silent("sg")
    with attached(serve(relay=relay), "bank", "telco") as (bank, telco):
        link = bank.links()["telco"]
        telco.links()
        relay.mute = True
        start = time.monotonic()
        error = raised(lambda: link.take(1, 20.0))
        assert str(error) == "coordinator was lost: it missed three heartbeats"
        assert time.monotonic() - start < 4.5 * BEAT


def test_a_party_that_falls_silent_is_lost_to_the_others(serve):
    with attached(serve(), "bank", "telco") as (bank, telco):
        link = bank.links()["telco"]
        telco.links()
        telco._stopped.set()  # no more signs of life
        error = raised(lambda: link.take(1, 20.0))
        assert str(error) == "telco was lost: telco was lost: it missed three heartbeats"


def test_a_closed_run_ends_its_streams_and_is_gone(serve):
    grid = serve()
    with attached(grid, "bank", "telco") as (bank, telco):
        link = bank.links()["telco"]
        assert telco.links()
        assert grid.server.relay.attached(RUN) == {"bank", "telco"}
        grid.server.relay.close(RUN, "cancelled by the bank")
        assert (
            str(raised(lambda: link.take(1, 5.0))) == "coordinator was lost: it closed the run: cancelled by the bank"
        )
    with attached(grid, "bank", "telco") as (bank, _):
        assert isinstance(raised(bank.links), Refused)


class Meddler(Relay):
    """Alters, drops or repeats the third data frame."""

    def __init__(self, how: Callable[[bytes], list[bytes]]) -> None:
        super().__init__("sg")
        self.how, self.seen = how, 0

    def deliver(self, stream, header, frame):
        frames = [frame]
        if header.kind is Kind.DATA:
            self.seen += 1
            if self.seen == 3:
                frames = self.how(frame)
        for each in frames:
            super().deliver(stream, header, each)


def flip(at: int) -> Callable[[bytes], list[bytes]]:
    return lambda frame: [frame[:at] + bytes((frame[at] ^ 1,)) + frame[at + 1 :]]


def send_ten(links):
    for i in range(10):
        links["telco"].put([pattern(1000, i)])
    return links["telco"].take(10, 10.0)


def take_ten(links):
    for i in range(10):
        assert bytes(links["bank"].take(1000, 5.0)) == pattern(1000, i), "wrong data"
    links["bank"].put([b"thanks"])
    return "all"


@pytest.mark.parametrize(
    "how",
    [
        flip(40),
        flip(-1),
        lambda frame: [],
        lambda frame: [frame[:-1]],
        lambda frame: [frame + b"x"],
        lambda frame: [b""],
    ],
    ids=["body", "tag", "dropped", "cut", "longer", "empty"],
)
def test_a_meddling_relay_gives_an_error_and_never_wrong_data(serve, how):
    result = serve(relay=Meddler(how)).play(bank=send_ten, telco=take_ten)
    assert isinstance(result["telco"], LinkLost | PeerFault)
    assert isinstance(result["bank"], LinkLost | PeerFault)


def test_repeated_data_frames_count_once(serve):
    result = serve(relay=Meddler(lambda frame: [frame, frame])).play(bank=send_ten, telco=take_ten)
    assert result["telco"] == "all"


def test_forged_control_frames_are_ignored(serve):
    class Forger(Relay):
        def deliver(self, stream, header, frame):
            super().deliver(stream, header, frame)
            if header.kind is Kind.DATA:
                for kind in (Kind.ACK, Kind.FAULT, Kind.CLOSE):
                    super().deliver(stream, header, wire.encode(header._replace(kind=kind, seq=10**6), b"x" * 40))

    assert serve(relay=Forger("sg")).play(bank=send_ten, telco=take_ten)["telco"] == "all"


def test_a_relay_that_alters_handshakes_is_found_out(serve):
    class Swapper(Relay):
        def deliver(self, stream, header, frame):
            super().deliver(stream, header, flip(60)(frame)[0] if header.kind is Kind.SHAKE1 else frame)

    result = serve(relay=Swapper("sg")).play(bank=send_ten, telco=take_ten)
    assert {me: (type(error), error.peer) for me, error in result.items()} == {
        "bank": (PeerFault, "telco"),
        "telco": (PeerFault, "bank"),
    }


def test_the_relay_sees_no_plaintext(serve):
    frames: list[bytes] = []

    class Recorder(Relay):
        def deliver(self, stream, header, frame):
            frames.append(frame)
            super().deliver(stream, header, frame)

    text = b"S1234567A owes 9000 "
    result = serve(relay=Recorder("sg")).play(
        bank=lambda links: links["telco"].put([text * 5000]), telco=lambda links: len(links["bank"].take(1 << 20, 10.0))
    )
    assert result["telco"] == 5000 * len(text)
    assert sum(map(len, frames)) > 5000 * len(text)
    assert not any((2 * text)[i : i + 6] in frame for frame in frames for i in range(len(text)))


def test_different_manifests_cannot_shake_hands(serve):
    grid = serve()
    with grid.attachment("bank") as bank, grid.attachment("telco", manifest_digest=b"\1" * 32) as telco:
        for attachment, other in ((telco, "bank"), (bank, "telco")):
            error = raised(attachment.links)
            assert isinstance(error, PeerFault)
            assert str(error) == f"{other} failed the handshake: it has a different manifest or a wrong key"


def test_a_party_that_never_comes_is_named(serve):
    with serve().attachment("bank", establish=0.5) as bank:
        error = raised(bank.links)
        assert isinstance(error, LinkLost)
        assert error.peer == "telco"


def test_parties_may_come_one_after_the_other(serve):
    grid = serve()
    with grid.attachment("bank") as bank:
        time.sleep(0.4)
        with grid.attachment("telco") as telco:
            assert telco.links().keys() == {"bank"}
            assert bank.links().keys() == {"telco"}


@pytest.mark.parametrize(
    ("who", "refusal"),
    [
        (lambda c: c.worker("bank", "elsewhere"), Refused),
        (lambda c: c.worker("mallory"), Refused),
        (lambda c: c.issue(x509.DNSName("localhost")), Refused),
        (lambda c: Certificates("sg").worker("bank"), LinkLost),  # another root: TLS itself refuses
    ],
    ids=["federation", "stranger", "nameless", "root"],
)
def test_who_may_not_attach_is_refused(serve, certificates, who, refusal):
    grid = serve()
    strange = Grid(grid.server, certificates, grid.keys, grid.identities | {"bank": who(certificates)})
    with strange.attachment("bank") as bank:
        error = raised(bank.links)
        assert isinstance(error, refusal)
        assert getattr(error, "who", getattr(error, "peer", "")) == "coordinator"


def raw(grid: Grid, *frames: bytes, epoch: str = "1") -> tuple[grpc.StatusCode, list[bytes]]:
    """Attach as bank with bare frames; return how the stream ended and what came back."""
    with grpc.secure_channel(grid.server.address, grid.credentials("bank")) as channel:
        call = channel.stream_stream(wire.ATTACH)(
            iter(frames), metadata=((wire.RUN_KEY, RUN), (wire.EPOCH_KEY, epoch)), timeout=5.0
        )
        back = []
        try:
            for frame in call:
                back.append(frame)
        except grpc.RpcError:
            pass
        return call.code(), back


HELLO = wire.encode(Header(Kind.HELLO, 0, 0, 1), wire.pack(1, "test"))
TO_TELCO = Header(Kind.DATA, 0, 1, 1)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([b"\xff\xff"], "FAILED_PRECONDITION"),
        ([wire.encode(TO_TELCO, b"x")], "FAILED_PRECONDITION"),  # no HELLO
        ([HELLO, wire.encode(TO_TELCO._replace(sender=1, to=0), b"x")], "FAILED_PRECONDITION"),  # telco's to send
        ([HELLO, wire.encode(TO_TELCO._replace(epoch=2), b"x")], "FAILED_PRECONDITION"),
        ([HELLO, wire.encode(TO_TELCO._replace(to=0), b"x")], "FAILED_PRECONDITION"),
        ([HELLO, wire.encode(TO_TELCO._replace(to=2), b"x")], "FAILED_PRECONDITION"),
        ([HELLO, wire.encode(Header(Kind.AWAY, 0, 1, 1))], "FAILED_PRECONDITION"),
        ([HELLO, bytes(3 << 20)], "RESOURCE_EXHAUSTED"),
        ([wire.encode(Header(Kind.HELLO, 0, 0, 1), wire.pack(9, "later"))], "INVALID_ARGUMENT"),
        ([HELLO], "OK"),
    ],
)
def test_the_relay_ends_a_stream_that_breaks_its_rules(serve, frames, code):
    assert raw(serve(), *frames)[0].name == code


def test_a_frame_to_nobody_attached_comes_back_as_away(serve):
    hold = threading.Event()

    def frames():
        yield HELLO
        yield wire.encode(TO_TELCO, b"x")
        hold.wait(1.0)

    grid = serve()
    with grpc.secure_channel(grid.server.address, grid.credentials("bank")) as channel:
        call = channel.stream_stream(wire.ATTACH)(frames(), metadata=((wire.RUN_KEY, RUN), (wire.EPOCH_KEY, "1")))
        got = [wire.decode(next(call), "relay") for _ in range(2)]
        hold.set()
        assert [(h.kind, h.sender, h.to) for h, _ in got] == [(Kind.WELCOME, 0, 0), (Kind.AWAY, 1, 0)]


def test_more_than_the_window_ends_the_senders_stream(serve):
    grid = serve()
    flood = [HELLO] + [wire.encode(TO_TELCO._replace(seq=i), bytes(1 << 20)) for i in range(40)]

    with grpc.secure_channel(grid.server.address, grid.credentials("telco")) as channel:
        hold = threading.Event()

        def quiet():
            yield wire.encode(Header(Kind.HELLO, 1, 1, 1), wire.pack(1, "test"))
            hold.wait(5.0)

        stuck = channel.stream_stream(wire.ATTACH)(quiet(), metadata=((wire.RUN_KEY, RUN), (wire.EPOCH_KEY, "1")))
        next(stuck)
        assert raw(grid, *flood)[0].name == "INVALID_ARGUMENT"
        hold.set()
        stuck.cancel()


def test_the_newest_stream_of_a_party_wins(serve):
    grid = serve()
    with grid.attachment("bank") as older, grid.attachment("bank"):
        assert "attached anew" in str(raised(older.links))


def test_a_coordinator_has_no_say_about_what_another_party_did(serve):
    grid = serve()
    with attached(grid, "bank", "telco") as (bank, telco):
        link = bank.links()["telco"]
        telco.links()
        stream = grid.server.relay._runs[RUN].streams[0]
        stream.loop.call_soon_threadsafe(stream.end, PeerFault("telco", "cheated"))
        error = raised(lambda: link.take(1, 5.0))
        assert str(error) == "coordinator was lost: it ended the stream and blames telco"


def test_opening_a_run(certificates):
    relay = Relay("sg")
    relay.open(RUN, ("a", "b"))
    for parties in (("a", "b"), ("a",), ("a", "a")):
        with pytest.raises(Misuse):
            relay.open(RUN if parties == ("a", "b") else b"other", parties)
    with pytest.raises(Refused):
        relay.open(b"large", [str(i) for i in range(20)], window=4 << 20)
    assert relay.attached(b"none") == frozenset()
    relay.close(b"none", "never opened")


def test_attaching_wrongly_is_misuse(serve):
    grid = serve()
    for changes in ({"manifest_digest": b""}, {"peer_public": {}}, {"parties": ("telco", "shop")}):
        with pytest.raises(Misuse):
            grid.attachment("bank", **changes)


def test_every_error_has_a_status_and_survives_the_wire():
    examples = [Misuse("what"), PeerFault("bank", "did"), LinkLost("bank", "why"), Refused("bank", "rule")]
    assert {type(e) for e in examples} == set(STATUS) == set(EngineError.__subclasses__())
    for error in examples:
        again = Fault.unpack(Fault.of(error, "me").pack(), "telco").error()
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    with pytest.raises(PeerFault, match="unknown class"):
        Fault.unpack(wire.pack("OSError", "", "x"), "telco")
