"""The codec: every type round trips, nothing is copied, and whatever is not exactly a message is the sender's fault."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from engine.errors import Misuse, PeerFault
from engine.runtime.message import MAX_COUNT, Array, Bytes2, Floats1, Words1, declared, decode, encode, message, spec_of
from engine.runtime.protection import Plain, Public

DTYPES = ("u1", "u2", "u4", "u8", "i4", "i8", "f4", "f8")
SLACK = 1 << 18  # bytes that decoding may use beside twice what was received


@message(Public("a test"))
class Inner:
    """A message within a message."""

    name: str
    values: Words1


@message(Public("a test"))
class Everything:
    """A field of every kind."""

    flag: bool
    number: int
    real: float
    text: str
    raw: bytes
    words: Words1
    table: Bytes2
    floats: Floats1
    maybe: int | None
    names: tuple[str, ...]
    nested: tuple[tuple[bytes, ...], ...]
    inner: Inner
    inners: tuple[Inner, ...]
    choice: Inner | None


@message(Public("a test"), limit=1 << 30)
class Big:
    """Large arrays."""

    first: Bytes2
    second: Words1


@message(Plain("a test", "the class's own check"))
class Ordered:
    """A message with a check of its own."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


@message(Public("a test"), limit=100)
class Small:
    """At most a hundred bytes."""

    raw: bytes


def holding(hint: Any) -> Any:
    """Return a message class with one field, `value`, of this type."""
    return message(Public("a test"))(type("Held", (), {"__annotations__": {"value": hint}, "__module__": __name__}))


def wire(value: object) -> bytes:
    return b"".join(encode(value))


def same(a: Any, b: Any) -> bool:
    """Whether two field values are equal, arrays bit by bit, messages field by field."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) in declared():
        return type(a) is type(b) and all(same(getattr(a, n), getattr(b, n)) for n, _ in spec_of(type(a)).fields)
    return type(a) is type(b) and bool(a == b)


WORDS = arrays(np.uint64, st.integers(0, 40))
INNER = st.builds(Inner, st.text(max_size=8), WORDS)
EVERYTHING = st.builds(
    Everything,
    flag=st.booleans(),
    number=st.integers(-(2**63), 2**63 - 1),
    real=st.floats(allow_nan=False, allow_infinity=False),
    text=st.text(max_size=30),
    raw=st.binary(max_size=90),
    words=WORDS,
    table=arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9)),
    floats=arrays(np.float64, st.integers(0, 20)),  # arrays may hold NaN; only single numbers are checked
    maybe=st.none() | st.integers(-5, 5),
    names=st.lists(st.text(max_size=5), max_size=4).map(tuple),
    nested=st.lists(st.lists(st.binary(max_size=4), max_size=3).map(tuple), max_size=3).map(tuple),
    inner=INNER,
    inners=st.lists(INNER, max_size=3).map(tuple),
    choice=st.none() | INNER,
)


def example() -> Everything:
    inner = Inner("inner", np.arange(5, dtype=np.uint64))
    return Everything(
        True, -7, 0.5, "tëxt", b"raw", np.arange(9, dtype=np.uint64), np.ones((3, 4), dtype=np.uint8),
        np.array([np.nan, 1.0]), 3, ("a", "bc"), ((b"x",), (), (b"y", b"zz")), inner, (inner, inner), None,
    )  # fmt: skip


@settings(deadline=None)
@given(EVERYTHING)
def test_every_type_round_trips(value: Everything) -> None:
    assert same(decode(Everything, wire(value), "telco"), value)


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_array_type_round_trips_aligned_and_read_only(dtype: str, ndim: int) -> None:
    kind = holding(Annotated[NDArray[Any], Array(dtype, ndim)])
    for side in (0, 1, 3):
        value = np.arange(side**ndim).astype("<" + dtype).reshape((side,) * ndim)
        data = wire(kind(value))
        got = decode(kind, data, "telco").value
        assert same(got, value)
        assert (len(data) - value.nbytes) % 64 == 0 or not value.nbytes
        with pytest.raises(ValueError, match="read-only"):
            got[...] = 0


def test_arrays_are_not_copied() -> None:
    value = Big(np.ones((1000, 64), dtype=np.uint8), np.arange(5000, dtype=np.uint64))
    buffers = [np.frombuffer(b, dtype=np.uint8) for b in encode(value)]
    for array in (value.first, value.second):
        assert any(np.shares_memory(array, buffer) for buffer in buffers)
    data = np.frombuffer(wire(value), dtype=np.uint8)
    got = decode(Big, data.data, "telco")
    assert np.shares_memory(got.first, data)
    assert np.shares_memory(got.second, data)


def test_an_array_in_another_memory_order_arrives_as_it_was() -> None:
    table = np.arange(12, dtype=np.uint8).reshape(3, 4)
    kind = holding(Bytes2)
    for view in (table.T, table[:, ::2], table[::-1]):
        assert same(decode(kind, wire(kind(view)), "telco").value, np.ascontiguousarray(view))


@pytest.mark.parametrize("protection", [None, "sealed", Public])
def test_no_message_without_a_protection(protection: Any) -> None:
    with pytest.raises(TypeError, match="without a protection"):
        message(protection)
    with pytest.raises(TypeError):
        message()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "hint",
    [
        object, Any, dict, dict[str, int], list[int], set, complex, int | str, tuple[int, int], np.ndarray,
        NDArray[np.uint8], Annotated[NDArray[Any], Array("u1", 5)], Annotated[NDArray[Any], Array("u1", 0)],
        Annotated[NDArray[Any], Array("O", 1)], tuple[tuple[tuple[tuple[int, ...], ...], ...], ...],
    ],
    ids=str,
)  # fmt: skip
def test_types_that_cannot_be_sent(hint: Any) -> None:
    with pytest.raises(TypeError, match=r"cannot have the type|nest at most"):
        holding(hint)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("flag", 1), ("number", True), ("number", 2**63), ("number", 1.0), ("number", np.int64(1)), ("real", 1),
        ("real", float("nan")), ("real", float("inf")), ("text", b"x"), ("text", "\ud800"), ("raw", "x"),
        ("raw", bytearray(b"x")), ("words", [1, 2]), ("words", np.zeros(3)), ("words", np.zeros((1, 3), np.uint64)),
        ("words", np.zeros(3, dtype=">u8")), ("maybe", "x"), ("names", ["a"]), ("names", (1,)),
        ("names", ("",) * (MAX_COUNT + 1)), ("nested", ((1,),)), ("inner", None), ("inner", Ordered(1, 2)),
        ("inners", (None,)), ("choice", 1),
    ],
)  # fmt: skip
def test_a_message_is_checked_when_it_is_constructed(field: str, wrong: Any) -> None:
    values = {name: getattr(example(), name) for name, _ in spec_of(Everything).fields}
    with pytest.raises(Misuse, match=rf"Everything\.{field} must be"):
        Everything(**(values | {field: wrong}))


def test_a_class_s_own_check_counts_on_both_sides() -> None:
    with pytest.raises(ValueError, match="above"):
        Ordered(2, 1)
    data = bytearray(wire(Ordered(1, 2)))
    data[-16:-8] = struct.pack("<q", 3)
    with pytest.raises(PeerFault, match=r"telco sent a malformed .*Ordered: low is above high"):
        decode(Ordered, data, "telco")


def test_messages_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Ordered(1, 2).low = 3  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        Ordered(1, 2).other = 3  # type: ignore[attr-defined]


def test_the_limit_holds_on_both_sides() -> None:
    with pytest.raises(Misuse, match="over its limit of 100: send it in chunks"):
        encode(Small(bytes(200)))
    assert decode(Small, wire(Small(bytes(84))), "telco").raw == bytes(84)
    with pytest.raises(PeerFault, match="over its limit"):
        decode(Small, wire(Small(bytes(84))) + bytes(1), "telco")


def test_what_is_no_message_is_misuse() -> None:
    for call in (lambda: encode(object()), lambda: spec_of(dict), lambda: decode(dict, b"", "telco")):
        with pytest.raises(Misuse, match="is not a message"):
            call()


def header(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


WHOLE = wire(example())
MALFORMED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "ends early"),
    "half a header": (WHOLE[:5], "ends early"),
    "other magic": (header(WHOLE, 0, 0x80), "does not begin like a message"),  # pickle's first byte
    "a reserved byte": (header(WHOLE, 3, 1), "does not begin like a message"),
    "another version": (header(WHOLE, 2, 9), "speaks message version 9, this side speaks 1"),
    "another layout": (header(WHOLE, 4, WHOLE[4] ^ 1), "a message of another version where .*Everything was due"),
    "another message": (wire(Ordered(1, 2)), "sent .*Ordered where .*Everything was due"),
    "one byte less": (WHOLE[:-1], "ends early"),
    "one byte more": (WHOLE + b"\0", "left over"),
    "two messages": (WHOLE + WHOLE, "left over"),
    "a flag of 2": (header(WHOLE, 8, 2), "a flag is neither 0 nor 1"),
    "not a number": (WHOLE[:17] + struct.pack("<d", np.nan) + WHOLE[25:], r"Everything\.real must be float"),
    "a long text": (WHOLE[:25] + struct.pack("<Q", 2**64 - 1) + WHOLE[33:], "ends early"),
    "half a character": (WHOLE[:34] + b"\xff" + WHOLE[35:], "not UTF-8"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_bytes_are_the_sender_s_fault(case: str) -> None:
    data, text = MALFORMED[case]
    with pytest.raises(PeerFault, match=text) as fault:
        decode(Everything, data, "telco")
    assert fault.value.peer == "telco"


@pytest.mark.parametrize(
    ("at", "raw", "text"),
    [
        (8, b"\1", "another type than declared"),  # u2 instead of u1
        (9, b"\1", "another type than declared"),  # one dimension instead of two
        (10, struct.pack("<Q", 1 << 62), "claims more than was sent"),
        (10, struct.pack("<QQ", 1 << 33, 1 << 33), "claims more than was sent"),  # the product overflows 64 bits
        (10, struct.pack("<QQ", 0, 1 << 63), "claims more than was sent"),  # empty, but no shape that numpy can hold
        (10, struct.pack("<QQ", 3, 3), "left over"),
        (63, b"\1", "padding is not zero"),
    ],
)
def test_an_array_that_lies(at: int, raw: bytes, text: str) -> None:
    kind = holding(Bytes2)
    data = bytearray(wire(kind(np.ones((3, 4), dtype=np.uint8))))
    data[at : at + len(raw)] = raw
    with pytest.raises(PeerFault, match=text):
        decode(kind, data, "telco")


def test_a_list_that_lies_costs_no_memory() -> None:
    kind = holding(tuple[tuple[int, ...], ...])
    data = wire(kind(()))[:-4]
    for count in (1, MAX_COUNT, MAX_COUNT + 1, 2**32 - 1):
        with pytest.raises(PeerFault, match="claims more items than were sent"):
            decode(kind, data + struct.pack("<I", count), "telco")


def test_no_value_enters_an_error() -> None:
    with pytest.raises(Misuse) as error:
        Small("confidential")  # type: ignore[arg-type]
    assert "confidential" not in str(error.value)


def mutated(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Change a message in one of the ways in which careless or hostile bytes differ from it."""
    at = rng.randrange(len(data))
    sizes = (0, 1, 255, MAX_COUNT, 2**31, 2**32 - 1, 2**63, 2**64 - 1, len(data), rng.getrandbits(64))
    size = rng.choice(sizes).to_bytes(8, "little")
    other = rng.choice(others)
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :],
        lambda: data[:at] + size + data[at + 8 :],
        lambda: data[:at] + size[:4] + data[at + 4 :],
        lambda: data[:at],
        lambda: data[:at] + rng.randbytes(rng.randrange(1, 70)) + data[at:],
        lambda: data[:at] + data[at + rng.randrange(1, 70) :],
        lambda: data[:at] + other[rng.randrange(len(other)) :],
        lambda: data[:8] + rng.randbytes(rng.randrange(300)),
    )
    changed = rng.choice(ways)()
    return mutated(rng, changed, others) if changed and rng.random() < 0.3 else changed


@pytest.mark.parametrize("rounds", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_mutations_give_a_fault_or_a_message_and_cost_little(rounds: int) -> None:
    """What decodes at all is the one encoding of what it decodes to; what does not is a PeerFault, soon and small."""
    rng = random.Random(rounds)
    empty = np.zeros(0, dtype=np.uint64)
    plain = Everything(
        False, 0, 0.0, "", b"", empty, np.zeros((0, 0), np.uint8), np.zeros(0), None, (), (), Inner("", empty), (), None
    )
    seeds = [WHOLE, wire(plain)]
    faults = 0
    tracemalloc.start()
    try:
        for _ in range(rounds):
            data = mutated(rng, rng.choice(seeds), seeds)
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            start = time.thread_time()
            try:
                got = decode(Everything, data, "telco")
            except PeerFault:
                faults += 1
            else:
                assert wire(got) == data
            assert time.thread_time() - start < 0.1
            assert tracemalloc.get_traced_memory()[1] - before < 2 * len(data) + SLACK
    finally:
        tracemalloc.stop()
    assert faults > rounds / 2


@pytest.mark.parametrize("harm", [lambda d: d, lambda d: d[:-1], lambda d: d + b"x"], ids=["whole", "short", "long"])
def test_large_messages_are_not_doubled(harm: Callable[[bytes], bytes]) -> None:
    data = harm(wire(Big(np.ones((1 << 12, 1 << 10), dtype=np.uint8), np.ones(1 << 19, dtype=np.uint64))))
    tracemalloc.start()
    try:
        try:
            decode(Big, data, "telco")
        except PeerFault:
            assert harm(b"ab") != b"ab"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < SLACK  # views of what was received, which is there once


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=400))
def test_random_bodies_give_only_faults(body: bytes) -> None:
    for data in (body, WHOLE[:8] + body):
        with pytest.raises(PeerFault):
            decode(Everything, data, "telco")
