"""The one place where the engine's errors become gRPC and HTTP status, and come back from them and from the wire."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from engine.errors import EngineError, LinkLost, Misuse, PeerFault, Refused
from node import wire

STATUS: dict[type[EngineError], tuple[grpc.StatusCode, int]] = {
    Misuse: (grpc.StatusCode.INVALID_ARGUMENT, 422),
    PeerFault: (grpc.StatusCode.FAILED_PRECONDITION, 409),
    LinkLost: (grpc.StatusCode.UNAVAILABLE, 503),
    Refused: (grpc.StatusCode.PERMISSION_DENIED, 403),
}
_TEXT = 1000


@dataclass(frozen=True)
class Fault:
    """An error as it crosses the wire: its class, the party it blames (empty for Misuse), what happened."""

    name: str
    who: str
    what: str

    @classmethod
    def of(cls, error: BaseException, me: str) -> Fault:
        """Describe an error; one that is not the engine's is a defect of `me`: its text may hold data and stays."""
        if isinstance(error, PeerFault):
            return cls("PeerFault", error.peer, error.what[:_TEXT])
        if isinstance(error, LinkLost):
            return cls("LinkLost", error.peer, error.why[:_TEXT])
        if isinstance(error, Refused):
            return cls("Refused", error.who, error.rule[:_TEXT])
        if isinstance(error, Misuse):
            return cls("Misuse", "", str(error)[:_TEXT])
        return cls("PeerFault", me, f"failed inside with {type(error).__name__}; its own log says more")

    def pack(self) -> bytes:
        """Return the wire's Fault message."""
        return wire.pack(self.name, self.who, self.what)

    @classmethod
    def unpack(cls, data: bytes | memoryview, sender: str) -> Fault:
        """Return what the bytes say; PeerFault(sender, ...) if they are malformed."""
        fault = cls(*wire.unpack(data, wire.FAULT, sender))
        if fault.name not in {kind.__name__ for kind in STATUS}:
            raise PeerFault(sender, "reported an error of unknown class")
        return fault

    def error(self) -> EngineError:
        """Return a fresh exception of the same class and names."""
        if self.name == "Misuse":
            return Misuse(self.what)
        return {"PeerFault": PeerFault, "LinkLost": LinkLost, "Refused": Refused}[self.name](self.who, self.what)


async def abort(context: grpc.aio.ServicerContext, error: EngineError, me: str) -> None:
    """End a call with the error's status, its text, and in the trailing metadata what `error_from` rebuilds it from."""
    await context.abort(STATUS[type(error)][0], str(error), ((wire.FAULT_KEY, Fault.of(error, me).pack()),))


def error_from(call: grpc.Call, peer: str) -> EngineError:
    """Return the engine's error for a call that `peer` or the network ended."""
    for key, value in call.trailing_metadata() or ():
        if key == wire.FAULT_KEY:
            try:
                return Fault.unpack(value, peer).error()
            except PeerFault as malformed:
                return malformed
    code, details = call.code(), call.details() or "no reason given"
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return Refused(peer, details)
    if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED):
        return Misuse(f"{peer} does not accept what was sent: {details}")
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return PeerFault(peer, details)
    return LinkLost(peer, f"{code.name.lower().replace('_', ' ')}: {details}")
