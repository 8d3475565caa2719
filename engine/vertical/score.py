"""Joint scores from weights that their owners know: each feature holder gives its part of each score.

    A label holder, B feature holders, k of them.
    k > 1    1  B_i -> B_j (i < j)   a seed that both expand: one adds, the other subtracts      PairSeed
    k > 1    2  B -> A               X_B w_B at 2^-10 modulo 2^64, plus its zero share           MaskedScores
    k = 1    2  B -> A               X_B w_B at 2^-10                                            PartialScores

A learns the score of each row, its own part known: the sum of the others' parts. With k = 1 that sum is B's part, so
sending it openly loses nothing further. The feature holders learn that the rows were scored. With k > 1, A and all
but one feature holder together learn the part of the last.
"""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from engine import randomness
from engine.runtime.message import MIB, Words1, message
from engine.runtime.party import Party
from engine.runtime.protection import Masked, Plain, Shared

Floats = NDArray[np.float64]

SCORE_BITS = 10


@message(Shared("the masked scores of both feature holders, which only the label holder has"))
class PairSeed:
    """32 fresh bytes, which the label holder must not see."""

    seed: bytes


@message(Plain("the sender's part of each score", "with one feature holder the score itself tells it"), limit=512 * MIB)
class PartialScores:
    """Parts at 2^-10, modulo 2^64, one a row."""

    values: Words1


@message(Masked("in the sum over all feature holders"), limit=512 * MIB)
class MaskedScores:
    """Parts at 2^-10 plus zero shares, modulo 2^64, one a row."""

    values: Words1


MESSAGES = (PairSeed, PartialScores, MaskedScores)


def label_holder(party: Party, own: Floats) -> Floats:
    """Return the scores, shape (n,), from the own parts and what the feature holders send."""
    total = np.zeros(len(own), dtype=np.uint64)
    for peer in party.peers:
        sent = party[peer].receive(PartialScores) if len(party.peers) == 1 else party[peer].receive(MaskedScores)
        values = sent.values  # 2
        party[peer].require(len(values) == len(own), "scored another number of rows")
        total = total + values
    return own + total.view(np.int64) / 2.0**SCORE_BITS


def feature_holder(party: Party, own: Floats) -> None:
    """Send the own parts, masked if there are other feature holders."""
    a = party[party.parties[0]]
    values = np.rint(own * 2.0**SCORE_BITS).astype(np.int64).view(np.uint64)
    if len(party.peers) == 1:
        a.send(PartialScores(values))  # 2
        return
    me = party.parties.index(party.name)
    for j, peer in enumerate(party.parties):
        if j in (0, me):
            continue
        if me < j:
            seed = randomness.random_bytes(32).tobytes()
            party[peer].send(PairSeed(seed))  # 1
            values = values + _expand(seed, len(own))
        else:
            seed = party[peer].receive(PairSeed).seed
            party[peer].require(len(seed) == 32, "sent a seed of another length")
            values = values - _expand(seed, len(own))
    a.send(MaskedScores(values))  # 2


def _expand(seed: bytes, rows: int) -> NDArray[np.uint64]:
    """AES-256-CTR of a seed that serves once."""
    stream = Cipher(algorithms.AES256(seed), modes.CTR(bytes(16))).encryptor().update(bytes(8 * rows))
    return np.frombuffer(stream, dtype="<u8").astype(np.uint64)
