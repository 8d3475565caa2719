"""The four errors of the engine, and nothing else.

They tell whose turn it is to act: `Misuse` is the caller's, `PeerFault` the named peer's, `LinkLost` the network's or
a dead process', `Refused` the policy's. One table in the node maps them to gRPC and HTTP status. Their texts name
parties, files and columns; they never hold a value, a key or an identifier of a row.
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of the four; raise one of them, catch this."""


class Misuse(EngineError):
    """The call, the job or the data of this side is wrong: what, where, what to do about it. Nothing was sent."""


class PeerFault(EngineError):
    """A peer broke the protocol: it sent something that the protocol does not allow at this point."""

    def __init__(self, peer: str, what: str) -> None:
        super().__init__(f"{peer} {what}")
        self.peer = peer
        self.what = what


class LinkLost(EngineError):
    """A peer can no longer be reached, or has been silent beyond the deadline."""

    def __init__(self, peer: str, why: str) -> None:
        super().__init__(f"{peer} was lost: {why}")
        self.peer = peer
        self.why = why


class Refused(EngineError):
    """An organisation's policy, or a guard of a protocol, says no. `who` refuses, `rule` says why."""

    def __init__(self, who: str, rule: str) -> None:
        super().__init__(f"{who} refuses: {rule}")
        self.who = who
        self.rule = rule
