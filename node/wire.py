"""Frames and their small bodies as proto3 bytes, by hand: a frame's header costs microseconds and its body no copy.

`synergos.proto` is the definition; code generated from it gives the same bytes (a test compares them). Parsing is
stricter than proto3 asks: fields ascending, none unknown or repeated, defaults left out, shortest varints, nothing
after the last field. So each frame has exactly one encoding; what a next version adds is agreed in HELLO, not guessed.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from engine.errors import PeerFault

WIRE = 1
RUN_KEY, EPOCH_KEY, FAULT_KEY = "synergos-run-bin", "synergos-epoch", "synergos-fault-bin"
ATTACH = "/synergos.v1.Relay/Attach"
CHUNK = 512 * 1024
FRAME_LIMIT = (1 << 20) + (1 << 16)
MESSAGE_OPTIONS = (("grpc.max_send_message_length", 2 << 20), ("grpc.max_receive_message_length", 2 << 20))
_TEXT_LIMIT = 4096


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    WELCOME = 2
    SHAKE1 = 3
    SHAKE2 = 4
    DATA = 5
    ACK = 6
    SYNC = 7
    PING = 8
    PONG = 9
    FAULT = 10
    CLOSE = 11
    AWAY = 12


class Header(NamedTuple):
    """A frame but for its body; `sender` and `to` are places in the manifest's list of parties."""

    kind: Kind
    sender: int
    to: int
    epoch: int
    seq: int = 0


HELLO = {1: "u32", 2: "text"}
WELCOME = {1: "u32", 2: "u64", 3: "u32"}
ACK = {1: "u64", 2: "u64"}
CLOSE = {1: "u64", 2: "text"}
AWAY = {1: "u32", 2: "text"}
FAULT = {1: "text", 2: "text", 3: "text"}
_FRAME = {1: "u32", 2: "u32", 3: "u32", 4: "u32", 5: "u64", 15: "bytes"}
_BITS = {"u32": 32, "u64": 64}


def encode(header: Header, body: bytes = b"") -> bytes:
    """Return a frame."""
    head = pack(*header)
    return b"".join((head, b"\x7a", _varint(len(body)), body)) if body else head  # field 15, length-delimited


def decode(frame: bytes, sender: str) -> tuple[Header, memoryview]:
    """Return a frame's header and a view of its body; PeerFault(sender, ...) unless it is exactly what encode gives."""
    if len(frame) > FRAME_LIMIT:
        raise PeerFault(sender, f"sent a frame of {len(frame):,} bytes where at most {FRAME_LIMIT:,} are allowed")
    kind, origin, to, epoch, seq, body = unpack(frame, _FRAME, sender)
    if not Kind.HELLO <= kind <= Kind.AWAY:
        raise PeerFault(sender, "sent a frame of unknown kind")
    return Header(Kind(kind), origin, to, epoch, seq), body


def pack(*values: int | str) -> bytes:
    """Return values as a proto3 message of fields 1, 2, ...: integers as varints, text as UTF-8."""
    out = bytearray()
    for number, value in enumerate(values, 1):
        if isinstance(value, int) and value:
            out += bytes((number << 3,)) + _varint(value)
        elif isinstance(value, str) and value:
            data = value.encode(errors="replace")
            out += bytes((number << 3 | 2,)) + _varint(len(data)) + data
    return bytes(out)


def unpack(data: bytes | memoryview, schema: dict[int, str], sender: str) -> tuple[Any, ...]:
    """Return the fields of a message in the order of its schema, absent ones as 0, "" or b"".

    Raises:
        PeerFault: the bytes are not what `pack` gives; it names `sender`.
    """
    values: dict[int, Any] = {n: {"text": "", "bytes": memoryview(b"")}.get(kind, 0) for n, kind in schema.items()}
    view = memoryview(data)
    at = last = 0
    try:
        while at < len(view):
            tag, at = _read_varint(view, at, 32)
            number, wire_type = tag >> 3, tag & 7
            kind = schema[number]
            _require(number > last and wire_type == (0 if kind in _BITS else 2))
            last = number
            if kind in _BITS:
                values[number], at = _read_varint(view, at, _BITS[kind])
            else:
                size, at = _read_varint(view, at, 32)
                _require(size <= len(view) - at)
                part, at = view[at : at + size], at + size
                values[number] = part if kind == "bytes" else _text(part)
            _require(bool(values[number]))
    except (ValueError, KeyError, IndexError):
        raise PeerFault(sender, "sent a malformed frame") from None
    return tuple(values.values())


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError


def _text(part: memoryview) -> str:
    _require(len(part) <= _TEXT_LIMIT)
    return str(part, "utf-8")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(view: memoryview, at: int, bits: int) -> tuple[int, int]:
    """Return the value and where it ends; ValueError unless it is shortest and fits, IndexError past the end."""
    value = shift = 0
    while True:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        _require(shift < bits)
    _require(value < 1 << bits and (byte != 0 or shift == 0))
    return value, at
