"""The hand-written codec against code generated from the published proto file, and against malformed bytes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import node
from engine.errors import PeerFault
from node import wire
from node.wire import Header, Kind

HEADERS = [
    Header(Kind.HELLO, 0, 0, 0),
    Header(Kind.DATA, 1, 0, 1, 0),
    Header(Kind.DATA, 0, 127, 128, 2**63),
    Header(Kind.AWAY, 2**32 - 1, 2**32 - 1, 2**32 - 1, 2**64 - 1),
]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Any:
    protoc = pytest.importorskip("grpc_tools.protoc")
    out, source = tmp_path_factory.mktemp("proto"), Path(node.__file__).parent
    assert protoc.main(["protoc", f"-I{source}", f"--python_out={out}", "synergos.proto"]) == 0
    spec = importlib.util.spec_from_file_location("synergos_pb2", out / "synergos_pb2.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("size", [0, 1, 127, 128, 70_000])
def test_same_bytes_as_generated_code(generated, header, size):
    body = bytes(i % 251 for i in range(size))
    theirs = generated.Frame(kind=header.kind, to=header.to, epoch=header.epoch, seq=header.seq, body=body)
    setattr(theirs, "from", header.sender)
    frame = wire.encode(header, body)
    assert frame == theirs.SerializeToString()
    assert wire.decode(frame, "telco") == (header, body)


@pytest.mark.parametrize(
    ("name", "schema", "values"),
    [
        ("Hello", wire.HELLO, (1, "0.1.0")),
        ("Welcome", wire.WELCOME, (1, 8 << 20, 20_000)),
        ("Ack", wire.ACK, (0, 2**40)),
        ("Close", wire.CLOSE, (3, "done")),
        ("Away", wire.AWAY, (1, "")),
        ("Fault", wire.FAULT, ("PeerFault", "télco", "x" * 300)),
    ],
)
def test_bodies_have_the_same_bytes(generated, name, schema, values):
    message = getattr(generated, name)
    theirs = message(**dict(zip((f.name for f in message.DESCRIPTOR.fields), values, strict=True)))
    assert wire.pack(*values) == theirs.SerializeToString()
    assert wire.unpack(wire.pack(*values), schema, "telco") == values


def test_kinds_are_those_of_the_proto_file(generated):
    assert {k.name: k.value for k in Kind} == {k: v for k, v in generated.Kind.items() if v}


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x08\x00",  # a default spelt out
        b"\x08\x0d",  # unknown kind
        b"\x08\x85\x00",  # a varint that is not the shortest
        b"\x08\x05\x08\x05",  # repeated
        b"\x10\x01\x08\x05",  # not ascending
        b"\x08\x05\x30\x01",  # unknown field
        b"\x08\x05\x7a\x02\x01",  # body longer than the frame
        b"\x08\x05\x7a\x01\x01\x00",  # trailing byte
        b"\x08\x05\x7a\x00",  # empty body spelt out
        b"\x0a\x01\x05",  # wrong wire type
        b"\x08\x05\x10\xff\xff\xff\xff\x1f",  # more than 32 bits
        b"\x08\x05\x28" + b"\xff" * 9 + b"\x02",  # more than 64 bits
        b"\x08\x05\x28" + b"\xff" * 20,
        b"\x08",
    ],
)
def test_malformed_frames_blame_the_sender(frame):
    with pytest.raises(PeerFault, match="telco sent a"):
        wire.decode(frame, "telco")


def test_an_oversize_frame_is_refused():
    with pytest.raises(PeerFault, match="at most"):
        wire.decode(wire.encode(Header(Kind.DATA, 0, 1, 1), bytes(wire.FRAME_LIMIT)), "telco")


def test_text_must_be_utf8_and_short():
    for text in (b"\xff\xff", b"x" * 5000):
        with pytest.raises(PeerFault):
            wire.unpack(b"\x12" + wire._varint(len(text)) + text, wire.CLOSE, "telco")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 2**32 - 1))
def test_whatever_decodes_has_only_this_encoding(noise, start):
    frame = wire.encode(HEADERS[start % 4], b"body")[: start % 20] + noise
    try:
        header, body = wire.decode(frame, "telco")
    except PeerFault:
        return
    assert wire.encode(header, bytes(body)) == frame
