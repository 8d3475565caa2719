"""What a secret key may not do: leave its process by accident."""

from __future__ import annotations

from typing import NoReturn

from engine.errors import Misuse

__all__ = ["Secret"]


class Secret:
    """A base class of secret keys: pickling or copying one, which would write the secret down, is a Misuse."""

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise Misuse("A secret key stays in its process: it is neither pickled nor copied.")
