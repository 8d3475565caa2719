"""Messages cut into records and put together again.

A record is u8 flags (FIRST, LAST), u64 total in network order if FIRST, bytes of the message. Records are sealed: the
relay sees neither flags nor where a message ends.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from engine.errors import PeerFault
from engine.runtime.message import Buffer

FIRST, LAST = 1, 2
_ROOM = 64 << 20
_ALIGNMENT = 64


def cut(buffers: Sequence[Buffer], chunk: int) -> Iterator[list[Buffer]]:
    """Yield the records of one message, at least one, each of at most `chunk` bytes of it and given as buffers."""
    views = [memoryview(buffer) for buffer in buffers]
    parts = deque(view.cast("B") for view in views if view.nbytes)
    total = left = sum(map(len, parts))
    first = FIRST
    while True:
        pieces: list[Buffer] = []
        room = chunk
        while parts and room:
            part = parts.popleft()
            pieces.append(part[:room])
            if len(part) > room:
                parts.appendleft(part[room:])
            room -= len(pieces[-1])
        left -= chunk - room
        flags = first if left else first | LAST
        yield [struct.pack(">BQ", flags, total) if first else bytes((flags,)), *pieces]
        if not left:
            return
        first = 0


def join(peer: str, limit: int, next_record: Callable[[], bytes]) -> memoryview:
    """Return the next message, read-only, at an address that is a multiple of 64.

    Raises:
        PeerFault: the peer announced more than `limit` bytes, or its records are malformed or do not make one message.
    """
    flags, body = _parse(next_record(), peer)
    if not flags & FIRST:
        raise PeerFault(peer, "sent a message without its beginning")
    total, body = int.from_bytes(body[:8]), body[8:]
    if total > limit:
        raise PeerFault(peer, f"announced a message of {total:,} bytes where at most {limit:,} are due")
    room, size = _aligned(min(total, _ROOM)), 0
    while True:
        end = size + len(body)
        if end > total:
            raise PeerFault(peer, "sent more than it had announced")
        if end > len(room):  # what is allocated follows what has arrived, not what was announced
            room, smaller = _aligned(min(total, 2 * len(room))), room
            room[:size] = smaller[:size]
        room[size:end] = body
        size = end
        if flags & LAST:
            break
        flags, body = _parse(next_record(), peer)
        if flags & FIRST:
            raise PeerFault(peer, "began a message inside another")
    if size != total:
        raise PeerFault(peer, "sent less than it had announced")
    return room.toreadonly()


def _parse(record: bytes, peer: str) -> tuple[int, memoryview]:
    """Return flags and the rest; PeerFault if there are none or unknown ones, or FIRST without a total."""
    if not record or record[0] > FIRST | LAST or (record[0] & FIRST and len(record) < 9):
        raise PeerFault(peer, "sent a malformed record")
    return record[0], memoryview(record)[1:]


def _aligned(size: int) -> memoryview:
    """Return writable bytes at an address where an array of any type may begin."""
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw.data[start : start + size]
