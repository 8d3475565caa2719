"""Messages: frozen dataclasses with a declared protection and a strict binary form.

A class decorated with `@message(protection)` is checked when it is constructed and again when it is decoded, so a value
of it is always well formed. Bytes, little endian:

    "SE"  version u8  zero u8  layout u32      layout = hash of class name, field names, types and limits
    fields in order                             bool u8 | int i64 | float f64, finite | str, bytes: u64 length, bytes
                                                tuple: u32 count, items | optional: u8, item | message: its fields
    array: dtype u8  ndim u8  ndim x u64        then zeros up to a multiple of 64, then the elements in C order

`encode` gives buffers and never copies an array; `decode` gives read-only views. Decoding checks magic, version,
layout, every tag, every size against the bytes left before anything is allocated, zero padding and the exact end.
Whatever is wrong is a `PeerFault` that names the sender. Nothing is ever evaluated or imported by name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import struct
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, dataclass_transform

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse, PeerFault
from engine.runtime.protection import Protection

MIB = 1 << 20
MAX_COUNT = 1 << 16
MAX_DEPTH = 4
_HEADER = struct.Struct("<2sBBI")
_VERSION = 1
_DTYPES = ("u1", "u2", "u4", "u8", "i4", "i8", "f4", "f8")


@dataclass(frozen=True)
class Array:
    """Marks an array field: its dtype (one of u1 u2 u4 u8 i4 i8 f4 f8, little endian) and number of dimensions."""

    dtype: str
    ndim: int


Bytes1 = Annotated[NDArray[np.uint8], Array("u1", 1)]
Bytes2 = Annotated[NDArray[np.uint8], Array("u1", 2)]
Words1 = Annotated[NDArray[np.uint64], Array("u8", 1)]
Words2 = Annotated[NDArray[np.uint64], Array("u8", 2)]
Ints1 = Annotated[NDArray[np.int64], Array("i8", 1)]
Floats1 = Annotated[NDArray[np.float64], Array("f8", 1)]

Buffer = bytes | bytearray | memoryview
M = TypeVar("M")


@dataclass(frozen=True)
class _Spec:
    """How a message class looks on the wire."""

    name: str
    protection: Protection
    limit: int
    layout: int
    fields: tuple[tuple[str, _Kind], ...]


@dataclass(frozen=True)
class _Kind:
    """The type of one field: a tag and what the tag needs."""

    tag: str
    array: Array | None = None
    inner: _Kind | None = None
    message: type[Any] | None = None

    def __str__(self) -> str:
        detail = self.array or self.inner or (spec_of(self.message).layout if self.message else "")
        return f"{self.tag}:{detail}"


@dataclass_transform(frozen_default=True, kw_only_default=False)
def message(protection: Protection, *, limit: int = 64 * MIB) -> Callable[[type[M]], type[M]]:
    """Make a class a frozen message whose encoding is at most `limit` bytes.

    Raises:
        TypeError: the protection is missing, or a field has a type that the codec does not know.
    """
    if not isinstance(protection, Protection):
        raise TypeError("a message cannot be defined without a protection: @message(Sealed(...))")

    def decorate(cls: type[M]) -> type[M]:
        own_check = cls.__dict__.get("__post_init__")

        def checked(self: Any) -> None:
            for name, kind in spec_of(type(self)).fields:
                _check(getattr(self, name), kind, f"{type(self).__name__}.{name}")
            if own_check is not None:
                own_check(self)

        cls.__post_init__ = checked  # type: ignore[attr-defined]
        made = dataclass(frozen=True, eq=False, slots=True)(cls)
        hints = typing.get_type_hints(made, include_extras=True)
        fields = tuple((f.name, _kind(hints[f.name], 1)) for f in dataclasses.fields(made))  # type: ignore[arg-type]
        name = f"{cls.__module__.removeprefix('engine.')}.{cls.__name__}"
        described = "|".join([name, str(limit), *(f"{n}={k}" for n, k in fields)])
        layout = int.from_bytes(hashlib.sha256(described.encode()).digest()[:4], "little")
        _SPECS[made] = _Spec(name, protection, limit, layout, fields)
        return made

    return decorate


_SPECS: dict[type[Any], _Spec] = {}


def spec_of(cls: type[Any]) -> _Spec:
    """Return name, protection, limit and layout of a message class; Misuse for any other class."""
    try:
        return _SPECS[cls]
    except KeyError:
        raise Misuse(f"{cls.__name__} is not a message: declare it with @message(protection)") from None


def declared() -> tuple[type[Any], ...]:
    """Return every message class that has been declared so far."""
    return tuple(_SPECS)


def _kind(hint: Any, depth: int) -> _Kind:
    if depth > MAX_DEPTH:
        raise TypeError(f"messages nest at most {MAX_DEPTH} deep")
    for plain in (bool, int, float, str, bytes):
        if hint is plain:
            return _Kind(plain.__name__)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated and isinstance(args[1], Array) and args[1].dtype in _DTYPES and 1 <= args[1].ndim <= 4:
        return _Kind("array", array=args[1])
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return _Kind("tuple", inner=_kind(args[0], depth + 1))
    if origin in (types.UnionType, typing.Union) and len(args) == 2 and type(None) in args:
        return _Kind("optional", inner=_kind(args[0] if args[1] is type(None) else args[1], depth + 1))
    if hint in _SPECS:
        return _Kind("message", message=hint)
    raise TypeError(f"a message field cannot have the type {hint}")


def _check(value: Any, kind: _Kind, where: str) -> None:
    """Refuse a value that does not fit its declared field, with the field's name and never its content."""
    match kind.tag:
        case "array":
            assert kind.array is not None
            fits = (
                isinstance(value, np.ndarray)
                and value.dtype == np.dtype("<" + kind.array.dtype)
                and value.ndim == kind.array.ndim
            )
        case "tuple":
            assert kind.inner is not None
            fits = isinstance(value, tuple) and len(value) <= MAX_COUNT
            if fits:
                for item in value:
                    _check(item, kind.inner, where)
        case "optional":
            assert kind.inner is not None
            fits = True
            if value is not None:
                _check(value, kind.inner, where)
        case "message":
            fits = type(value) is kind.message
        case "int":
            fits = type(value) is int and -(1 << 63) <= value < 1 << 63
        case "float":
            fits = type(value) is float and math.isfinite(value)
        case "str":
            fits = type(value) is str and (value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value))
        case _:
            fits = type(value) is (bool if kind.tag == "bool" else bytes)
    if not fits:
        raise Misuse(f"{where} must be {kind.tag} {kind.array or ''}".rstrip())


class _Writer:
    """Collects buffers: small fields joined in one, arrays as views of themselves."""

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        self.small = bytearray()
        self.length = 0

    def put(self, data: bytes) -> None:
        self.small += data
        self.length += len(data)

    def put_array(self, array: NDArray[Any]) -> None:
        self.put(bytes(-self.length % 64))
        if array.nbytes:
            self.buffers += [self.small, np.ascontiguousarray(array).data.cast("B")]
            self.small = bytearray()
            self.length += array.nbytes

    def close(self) -> list[Buffer]:
        return [*self.buffers, self.small] if self.small else self.buffers


def encode(value: object) -> list[Buffer]:
    """Return the message as buffers whose concatenation is its encoding; Misuse if it is larger than its limit."""
    spec = spec_of(type(value))
    writer = _Writer()
    writer.put(_HEADER.pack(b"SE", _VERSION, 0, spec.layout))
    _write_fields(writer, value, spec)
    if writer.length > spec.limit:
        raise Misuse(f"{spec.name} of {writer.length:,} bytes is over its limit of {spec.limit:,}: send it in chunks")
    return writer.close()


def _write_fields(writer: _Writer, value: object, spec: _Spec) -> None:
    for name, kind in spec.fields:
        _write(writer, getattr(value, name), kind)


def _write(writer: _Writer, value: Any, kind: _Kind) -> None:
    match kind.tag:
        case "bool":
            writer.put(b"\1" if value else b"\0")
        case "int":
            writer.put(struct.pack("<q", value))
        case "float":
            writer.put(struct.pack("<d", value))
        case "str" | "bytes":
            raw = value.encode() if kind.tag == "str" else value
            writer.put(struct.pack("<Q", len(raw)) + raw)
        case "array":
            assert kind.array is not None
            writer.put(
                bytes([_DTYPES.index(kind.array.dtype), value.ndim]) + struct.pack(f"<{value.ndim}Q", *value.shape)
            )
            writer.put_array(value)
        case "tuple":
            assert kind.inner is not None
            writer.put(struct.pack("<I", len(value)))
            for item in value:
                _write(writer, item, kind.inner)
        case "optional":
            assert kind.inner is not None
            writer.put(b"\0" if value is None else b"\1")
            if value is not None:
                _write(writer, value, kind.inner)
        case _:
            _write_fields(writer, value, spec_of(type(value)))


class _Reader:
    """Walks over received bytes; every step is checked against what is left."""

    def __init__(self, data: memoryview, sender: str, name: str) -> None:
        self.data, self.sender, self.name, self.at = data, sender, name, 0

    def fault(self, what: str) -> PeerFault:
        return PeerFault(self.sender, f"sent a malformed {self.name}: {what}")

    def take(self, count: int) -> memoryview:
        if count > len(self.data) - self.at:
            raise self.fault("it ends early")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, fmt: str) -> Any:
        return struct.unpack("<" + fmt, self.take(struct.calcsize("<" + fmt)))[0]

    def flag(self) -> bool:
        byte = self.take(1)[0]
        if byte > 1:
            raise self.fault("a flag is neither 0 nor 1")
        return bool(byte)

    def array(self, want: Array) -> NDArray[Any]:
        if bytes(self.take(2)) != bytes([_DTYPES.index(want.dtype), want.ndim]):
            raise self.fault("an array has another type than declared")
        shape = struct.unpack(f"<{want.ndim}Q", self.take(8 * want.ndim))
        dtype = np.dtype("<" + want.dtype)
        size = math.prod(shape) * dtype.itemsize
        # An empty array may still name dimensions that numpy cannot hold.
        if math.prod(max(n, 1) for n in shape) > 1 << 48 or size > len(self.data) - self.at:
            raise self.fault("an array claims more than was sent")
        if any(self.take(-self.at % 64)):
            raise self.fault("the padding is not zero")
        array = np.frombuffer(self.take(size), dtype=dtype).reshape(shape)
        array.flags.writeable = False
        return array


def decode(cls: type[M], data: Buffer, sender: str) -> M:
    """Decode one message of the expected class.

    Args:
        data: the whole encoding; arrays of the result are read-only views of it.
        sender: the peer it came from, named when anything is wrong.

    Raises:
        PeerFault: the bytes are not exactly one well-formed message of this class.
    """
    spec = spec_of(cls)
    reader = _Reader(memoryview(data).toreadonly(), sender, spec.name)
    if len(reader.data) > spec.limit:
        raise reader.fault("it is over its limit")
    magic, version, zero, layout = _HEADER.unpack(reader.take(_HEADER.size))
    if magic != b"SE" or zero:
        raise reader.fault("it does not begin like a message")
    if version != _VERSION:
        raise PeerFault(sender, f"speaks message version {version}, this side speaks {_VERSION}: update the older one")
    if layout != spec.layout:
        other = next((s.name for s in _SPECS.values() if s.layout == layout), "a message of another version")
        raise PeerFault(sender, f"sent {other} where {spec.name} was due")
    value = _read_fields(reader, cls, spec)
    if reader.at != len(reader.data):
        raise reader.fault("bytes are left over")
    return value


def _read_fields(reader: _Reader, cls: type[M], spec: _Spec) -> M:
    values = [_read(reader, kind) for _, kind in spec.fields]
    try:
        return cls(*values)
    except (Misuse, ValueError) as error:
        raise reader.fault(str(error)) from None


def _read(reader: _Reader, kind: _Kind) -> Any:
    match kind.tag:
        case "bool":
            return reader.flag()
        case "int":
            return reader.number("q")
        case "float":
            return reader.number("d")
        case "bytes":
            return bytes(reader.take(reader.number("Q")))
        case "str":
            try:
                return bytes(reader.take(reader.number("Q"))).decode()
            except UnicodeDecodeError:
                raise reader.fault("a text is not UTF-8") from None
        case "array":
            assert kind.array is not None
            return reader.array(kind.array)
        case "tuple":
            assert kind.inner is not None
            count = reader.number("I")
            # Every item takes at least one byte, so a larger claim is a lie that must not cost memory.
            if count > min(MAX_COUNT, len(reader.data) - reader.at):
                raise reader.fault("a list claims more items than were sent")
            return tuple(_read(reader, kind.inner) for _ in range(count))
        case "optional":
            assert kind.inner is not None
            return _read(reader, kind.inner) if reader.flag() else None
        case _:
            assert kind.message is not None
            return _read_fields(reader, kind.message, spec_of(kind.message))
