"""Encrypted linear algebra: one interface (`engine.he.scheme`), schemes by name."""

from __future__ import annotations

from engine.errors import Misuse

# Loaded before the function of the same name is defined: loading a module binds its name in the package, once.
from engine.he.scheme import Scheme

__all__ = ["SCHEMES", "Scheme", "scheme"]

SCHEMES = ("rlwe", "rlwe-native", "clear")


def scheme(name: str) -> Scheme:
    """Return a new scheme object: `rlwe` (by SEAL) or `rlwe-native` (by our kernels), or `clear`, which is for tests.

    Raises Misuse for another name, and where `rlwe` cannot run on this machine.
    """
    if name == "rlwe":
        from engine.he.rlwe import Rlwe

        return Rlwe()
    if name == "rlwe-native":
        from engine.he.rlwe_native import RlweNative

        return RlweNative()
    if name == "clear":
        from engine.he.clear import Clear

        return Clear()
    raise Misuse(f"There is no scheme called {name!r}; use one of {', '.join(SCHEMES)}.")
