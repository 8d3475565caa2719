"""Synergos' engine: private set intersection, homomorphic encryption, joint models. No sockets, no web, no database."""

from engine.errors import EngineError, LinkLost, Misuse, PeerFault, Refused
from engine.parties import Federation, JointModel, federation

__all__ = ["EngineError", "Federation", "JointModel", "LinkLost", "Misuse", "PeerFault", "Refused", "federation"]
__version__ = "0.1.0"
