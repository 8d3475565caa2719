"""Synergos' engine: private set intersection, homomorphic encryption, joint models. No sockets, no web, no database."""

from typing import TYPE_CHECKING, Any

from engine.errors import EngineError, LinkLost, Misuse, PeerFault, Refused

if TYPE_CHECKING:
    from engine.parties import Federation, JointModel, federation

__all__ = ["EngineError", "Federation", "JointModel", "LinkLost", "Misuse", "PeerFault", "Refused", "federation"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load what needs NumPy when it is asked for, so that a command that needs none answers at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from engine import parties

    return getattr(parties, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
