"""The `shared` protocol: a linear model trained on secret shares, every feature multiplied by its owner.

    A label holder, H first feature holder: the computing parties. B any further feature holder.
    Weights w, scores z, residuals d and gradients g exist only as two shares, A's and H's, that are uniform modulo M
    and add up to the value. [x]_A is a vector that A encrypted under its own key. p is whoever owns the features X_p.

    once         1  all pairs          sizes; keys of A and H                                  Setup
                 2  A -> H, A -> B     may weights be released? for H: a seed to split shares afresh   Start
    scores       3  A -> p, H -> p     [share of w_p]                                          Weights
                 4  p -> A, p -> H     X_p [share] + mask; from B to H also minus its masks    Scores, Correction
    link         5  A -> H             [sin k z_A], [cos k z_A]                                Waves
                 6  H -> A             sum over k of [.] factor_k(z_H), + mask                 Link
    gradient     7  A -> p, H -> p     [share of d]                                            Residuals
                 8  p -> A, p -> H     X_p^T [share] + mask; from B to H also minus its masks  Gradients, Correction
    scalar       9  A <-> H            each its share of one number over all rows              Opening
    end         10  A -> p, H -> p     their shares of p's own weights, if policy and guard allow   Released
    prediction  11  H -> A             its share of each score                                 ScoreShares
    A -> B before 3 and 7: what comes next                                                     Turn

Fixed point: features 2^-12, weights and residuals 2^-20; scores and gradients come out at 2^-32 and are truncated by
each side alone (the lift rule of `engine.kernels.ring`). The rule needs uniform shares, so they are split afresh before
every truncation. What a party can multiply in clear, its own features by its own share, it does; only cross terms are
encrypted.

Who learns what. A and H: the number of rows, everybody's number of columns, the schedule, the scalars that are opened
(losses; how near the scores come to the series' end), and what is released at the end. B: the number of rows, the
schedule, its own weights if released. Nobody sees a score, a residual or a gradient while training. A learns the score
of each row it later asks for; with two parties and its own weights known, that is X_H w_H of the row. A and H together
could open everything. Semi-honest; RLWE at the scheme's strength hides what is encrypted, masks hide what is answered.

Sources: coefficient-packed products, Huang et al., "Cheetah" (USENIX Security 2022), section 3; truncation of shares
without interaction, Mohassel and Zhang, "SecureML" (IEEE S&P 2017), section 4.1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine import randomness
from engine.errors import Misuse, Refused
from engine.he.scheme import Layout, Matrix, PeerKey, Scheme
from engine.kernels.ring import Ring
from engine.runtime.channel import Channel
from engine.runtime.message import MIB, Bytes1, Bytes2, Words2, message
from engine.runtime.party import Party
from engine.runtime.protection import Aggregate, Masked, Plain, Public, Sealed
from engine.vertical.series import Series
from engine.vertical.whitening import FEATURE_BITS

Share = NDArray[np.uint64]

WEIGHT_BITS = 20
_FAILURE_LIMIT = -20  # log2 of the probability, over a whole training, that any truncation goes wrong


@message(Public("sizes and keys"))
class Setup:
    """What a party brings: rows of each part, its columns, whether each column may carry a weight, its key or none."""

    parts: tuple[str, ...]
    rows: tuple[int, ...]
    columns: int
    columns_are_common: bool
    key: Bytes1


@message(Public("the outcome of the release guard; for the helper a seed that splits shares afresh and hides nothing"))
class Start:
    """The label holder's opening; `model` names the model that is being trained or used."""

    release: bool
    model: bytes
    seed: bytes


@message(Public("what the label holder asks for next"))
class Turn:
    """For feature holders that do not compute: "scores" or "gradient" of a part, or "end"."""

    what: str
    part: str


@message(Sealed("its sender"), limit=2048 * MIB)
class Weights:
    """One share of the receiver's weights."""

    ciphertexts: Bytes2


@message(Sealed("its receiver"), limit=2048 * MIB)
class Scores:
    """The sender's features times a share of its weights, masked, one value a row."""

    ciphertexts: Bytes2


@message(Sealed("its sender"), limit=2048 * MIB)
class Waves:
    """The harmonics of one share of the scores, harmonic by harmonic."""

    ciphertexts: tuple[Bytes2, ...]


@message(Sealed("its receiver"), limit=2048 * MIB)
class Link:
    """A function of the scores, masked, one value a row."""

    ciphertexts: Bytes2


@message(Sealed("its sender"), limit=2048 * MIB)
class Residuals:
    """One share of the residuals."""

    ciphertexts: Bytes2


@message(Sealed("its receiver"), limit=64 * MIB)
class Gradients:
    """The sender's features transposed times a share of the residuals, masked, one value a column."""

    ciphertexts: Bytes2


@message(Masked("in the sum of both computing parties' shares"), limit=256 * MIB)
class Correction:
    """Minus the masks that a feature holder put on its two answers."""

    shares: Words2


@message(Aggregate("one scalar: a loss, or how near the scores come to the series' end", "all rows of the part"))
class Opening:
    """A share of a scalar that both computing parties learn."""

    share: Words2


@message(Plain("the weights of the receiver's own columns", "the release policy gives each owner its weights"))
class Released:
    """One share of the receiver's weights."""

    shares: Words2


@message(Plain("the score of each row asked for", "the label holder evaluates and decides by it"), limit=256 * MIB)
class ScoreShares:
    """The helper's share of the scores."""

    shares: Words2


MESSAGES = (
    Setup, Start, Turn, Weights, Scores, Waves, Link, Residuals, Gradients, Correction, Opening, Released, ScoreShares,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Features:
    """A party's own features, quantised: part name -> int16 (rows, columns), the same columns in every part.

    `common` says that each column behind them differs from its most frequent value in enough rows to carry a weight.
    """

    parts: Mapping[str, NDArray[np.int16]]
    common: bool = True

    @property
    def columns(self) -> int:
        """The number of columns."""
        return int(next(iter(self.parts.values())).shape[1])

    @property
    def rows(self) -> tuple[int, ...]:
        """The number of rows of each part."""
        return tuple(len(x) for x in self.parts.values())


def _setup(party: Party, features: Features, key: NDArray[np.uint8]) -> dict[str, Setup]:
    """Step 1: tell everybody the sizes, and the keys of the computing parties; return the peers' setups."""
    mine = Setup(tuple(features.parts), features.rows, features.columns, features.common, key)
    for peer in party.peers:
        party[peer].send(mine)
    setups = {}
    for peer in party.peers:
        setups[peer] = theirs = party[peer].receive(Setup)
        party[peer].require(
            theirs.parts == mine.parts and theirs.rows == mine.rows, "brings other rows: align before training"
        )
        party[peer].require(0 < theirs.columns <= 1 << 16, "brings no columns, or too many")
    return setups


@dataclass(frozen=True, eq=False)
class _Owner:
    """A party's own features, ready to be multiplied with encrypted shares."""

    scheme: Scheme
    features: Features
    layouts: Mapping[str, Layout]
    matrices: Mapping[str, Matrix]

    @classmethod
    def of(cls, scheme: Scheme, features: Features) -> _Owner:
        layouts = {part: scheme.layout(*x.shape) for part, x in features.parts.items()}
        matrices = {part: scheme.matrix(x, layouts[part]) for part, x in features.parts.items()}
        return cls(scheme, features, layouts, matrices)

    def answer_scores(self, asker: Channel, key: PeerKey, part: str, asked: Weights) -> tuple[Scores, Share]:
        """Step 4: features times the asker's encrypted share; returns what to send and minus the mask on it."""
        with asker.blame():
            answer, own = self.matrices[part].times_weights(key, asked.ciphertexts)
        return Scores(answer), own

    def answer_gradient(self, asker: Channel, key: PeerKey, part: str, asked: Residuals) -> tuple[Gradients, Share]:
        """Step 8: the same with the transposed features and the residuals."""
        with asker.blame():
            answer, own = self.matrices[part].times_rows(key, asked.ciphertexts)
        return Gradients(answer), own

    def reply(self, asker: Channel, key: PeerKey, turn: Turn) -> Share:
        """Receive what the turn is about, answer it, and return minus the mask on the answer."""
        if turn.what == "scores":
            scores, own = self.answer_scores(asker, key, turn.part, asker.receive(Weights))
            asker.send(scores)
        else:
            gradients, own = self.answer_gradient(asker, key, turn.part, asker.receive(Residuals))
            asker.send(gradients)
        return own


class Computing:
    """One of the two computing parties between set-up and end: A, the leader, or H.

    `columns` maps each party to its slice of the weights; every share of all weights is uint64 (2, total). At A,
    `release_up_to` is the largest number of columns whose weights a peer may learn; 0 keeps all weights shared.
    """

    def __init__(self, party: Party, scheme: Scheme, features: Features, release_up_to: int = 0) -> None:
        _refuse_clear(party, scheme)
        names = party.parties
        self.party = party
        self.scheme = scheme
        self.ring = Ring(scheme.primes)
        self.leader = party.name == names[0]
        self.other = party[names[1] if self.leader else names[0]]
        self.rest = tuple(party[name] for name in names[2:])
        self.me = _Owner.of(scheme, features)
        self.key = scheme.key()
        setups = _setup(party, features, self.key.public)  # 1
        with self.other.blame():
            self.peer_key = scheme.peer(setups[self.other.peer].key)
        sizes = [features.columns if name == party.name else setups[name].columns for name in names]
        ends = list(itertools.accumulate(sizes))
        self.total = ends[-1]
        self.columns = {name: slice(end - size, end) for name, size, end in zip(names, sizes, ends, strict=True)}
        self.rows = dict(zip(features.parts, features.rows, strict=True))
        self.layouts = {
            (name, part): scheme.layout(rows, size)
            for name, size in zip(names, sizes, strict=True)
            for part, rows in self.rows.items()
        }
        few = all(setup.columns <= release_up_to and setup.columns_are_common for setup in setups.values())
        self.start = self._start(few)  # 2
        self._splits = itertools.count()

    def _start(self, release: bool) -> Start:
        if not self.leader:
            start = self.other.receive(Start)
            self.other.require(len(start.seed) == 32, "sent a seed of another length")
            return start
        start = Start(release, randomness.random_bytes(16).tobytes(), randomness.random_bytes(32).tobytes())
        self.other.send(start)
        for channel in self.rest:
            channel.send(Start(release, start.model, b""))
        return start

    def _turn(self, what: str, part: str = "") -> None:
        if self.leader:
            for channel in self.rest:
                channel.send(Turn(what, part))

    def scores(self, part: str, weights: Share) -> Share:
        """Steps 3 and 4: shares of X w at 2^-32, shape (2, rows), from shares of the weights (2, total)."""
        self._turn("scores", part)
        for channel in self.rest:
            channel.send(self._weights(channel, part, weights))  # 3
        asked = self.other.exchange(self._weights(self.other, part, weights))
        answer, own = self.me.answer_scores(self.other, self.peer_key, part, asked)  # 4
        back = self.other.exchange(answer)
        z = self.ring.matmul(self.me.features.parts[part], weights[:, self.columns[self.party.name]])
        z = self.ring.add(z, own)
        z = self.ring.add(z, self._decrypt_rows(self.other, part, back))
        for channel in self.rest:
            z = self.ring.add(z, self._decrypt_rows(channel, part, channel.receive(Scores)))
            z = self._corrected(channel, z)
        return z

    def gradient(self, part: str, residuals: Share) -> Share:
        """Steps 7 and 8: shares of X^T d at 2^-32, shape (2, total), from shares of the residuals (2, rows)."""
        self._turn("gradient", part)
        for channel in self.rest:
            channel.send(self._residuals(channel, part, residuals))  # 7
        asked = self.other.exchange(self._residuals(self.other, part, residuals))
        answer, own = self.me.answer_gradient(self.other, self.peer_key, part, asked)  # 8
        back = self.other.exchange(answer)
        g = np.zeros((2, self.total), dtype=np.uint64)
        mine = self.ring.matmul_t(self.me.features.parts[part], residuals)
        g[:, self.columns[self.party.name]] = self.ring.add(mine, own)
        g[:, self.columns[self.other.peer]] = self._decrypt_columns(self.other, part, back)
        for channel in self.rest:
            theirs = self._decrypt_columns(channel, part, channel.receive(Gradients))
            g[:, self.columns[channel.peer]] = self._corrected(channel, theirs)
        return g

    def _weights(self, owner: Channel, part: str, weights: Share) -> Weights:
        own = np.ascontiguousarray(weights[:, self.columns[owner.peer]])
        return Weights(self.key.encrypt_weights(own, self.layouts[owner.peer, part]))

    def _residuals(self, owner: Channel, part: str, residuals: Share) -> Residuals:
        return Residuals(self.key.encrypt_rows(residuals, self.layouts[owner.peer, part]))

    def _decrypt_rows(self, owner: Channel, part: str, answer: Scores) -> Share:
        with owner.blame():
            return self.key.decrypt_rows(answer.ciphertexts, self.layouts[owner.peer, part])

    def _decrypt_columns(self, owner: Channel, part: str, answer: Gradients) -> Share:
        with owner.blame():
            return self.key.decrypt_weights(answer.ciphertexts, self.layouts[owner.peer, part])

    def _corrected(self, owner: Channel, share: Share) -> Share:
        """H adds a feature holder's correction; A has nothing to add."""
        if self.leader:
            return share
        correction = owner.receive(Correction).shares
        owner.require(correction.shape == share.shape and self.ring.contains(correction), "sent a malformed correction")
        return self.ring.add(share, correction)

    def link(self, z: Share, series: Series, bits: int) -> Share:
        """Steps 5 and 6: shares of series(z) at 2^-(2 bits), from shares of z at 2^-32, both of shape (2, rows)."""
        phase = self._phase(self._split(z), series)
        share = self._products(self._harmonics(phase, series, bits))
        return self._add_constant(share, series.constant, 2 * bits)

    def loss(self, z: Share, even: Series, labels: NDArray[np.float64] | None) -> Share:
        """Steps 5 and 6: shares of the log loss at 2^-40, even(z) + (1/2 - y) z; `labels` at A, None at H."""
        z = self._split(z)
        small = self.truncate(z, FEATURE_BITS)
        terms = self._harmonics(self._phase(z, even), even, WEIGHT_BITS)
        terms.append(small if labels is None else self._fixed(0.5 - labels, WEIGHT_BITS))
        share = self._add_constant(self._products(terms), even.constant, 2 * WEIGHT_BITS)
        if labels is None:
            return share
        signed = np.where(labels > 0.5, self.ring.negate(small), small)
        return self.ring.add(share, self.ring.scale(signed, 1 << (WEIGHT_BITS - 1)))

    def _phase(self, z: Share, series: Series) -> NDArray[np.float64]:
        return self.ring.lift_phase(z, self.leader, FEATURE_BITS + WEIGHT_BITS, series.period)

    def _harmonics(self, phase: NDArray[np.float64], series: Series, bits: int) -> list[Share]:
        waves = series.waves(phase) if self.leader else series.factors(phase)
        return [self._fixed(row, bits) for row in np.concatenate(waves)]

    def _products(self, terms: list[Share]) -> Share:
        """Steps 5 and 6: shares of the sum over the terms of A's times H's, row by row."""
        rows = terms[0].shape[1]
        if self.leader:
            self.other.send(Waves(tuple(self.key.encrypt_slots(term) for term in terms)))  # 5
            answer = self.other.receive(Link)
            with self.other.blame():
                return self.key.decrypt_slots(answer.ciphertexts, rows)
        waves = self.other.receive(Waves).ciphertexts
        self.other.require(len(waves) == len(terms), "sent another number of harmonics than the series has")
        with self.other.blame():
            answered, own = self.peer_key.combine_slots(list(zip(waves, terms, strict=True)))
        self.other.send(Link(answered))  # 6
        return own

    def _add_constant(self, share: Share, constant: float, bits: int) -> Share:
        return self.add_public(share, np.full(share.shape[1], constant), bits) if self.leader else share

    def add_public(self, share: Share, values: NDArray[np.float64], bits: int) -> Share:
        """Add values that A knows, at 2^-bits, to the shares; called at A only."""
        return self.ring.add(share, self._fixed(values, bits))

    def _fixed(self, values: NDArray[np.float64], bits: int) -> Share:
        return self.ring.to_residues(np.rint(values * 2.0**bits).astype(np.int64))

    def _split(self, share: Share) -> Share:
        """Split a shared value afresh, so that the lift rule finds uniform shares."""
        zero = self.ring.zero_share(self.start.seed, next(self._splits), share.shape[1])
        return self.ring.add(share, zero) if self.leader else self.ring.subtract(share, zero)

    def truncate(self, share: Share, bits: int) -> Share:
        """Divide shared values by 2^bits, each within one unit."""
        return self.ring.lift_truncate(self._split(share), bits, self.leader)

    def open_sum(self, share: Share, bits: int) -> float:
        """Step 9: open the sum over all rows of values at 2^-bits to both computing parties."""
        total = self._split(self.ring.sum(share))
        theirs = self.other.exchange(Opening(total)).share  # 9
        self.other.require(theirs.shape == (2, 1) and self.ring.contains(theirs), "opened a malformed share")
        return float(self.ring.to_float(self.ring.add(total, theirs))[0]) / 2.0**bits

    def audit(self, part: str) -> None:
        """Check one product for every column with residuals that both computing parties know; for debugging.

        Random signs stand in for the residuals, and a random combination of each block of the gradient is opened, which
        its owner compares with what it computes in clear; one combination of its features is what this discloses.

        Raises:
            PeerFault: the products do not add up; anything but what the protocol asks for was answered.
        """
        public = np.random.default_rng(int.from_bytes(self._audit_seed(), "little"))
        signs = self.ring.to_residues(public.choice(np.array([-1, 1]), self.rows[part]))
        zero = np.zeros_like(signs)
        g = self.gradient(part, self._split(signs if self.leader else zero))
        for name, block in self.columns.items():
            factors = public.integers(1, 1 << 16, block.stop - block.start)[None, :]
            combined = self.ring.matmul(factors.astype(np.int32), np.ascontiguousarray(g[:, block]))
            opened = self.ring.add(combined, self.other.exchange(Opening(combined)).share)
            if name == self.party.name:
                clear = self.ring.matmul_t(self.me.features.parts[part], signs)
                right = np.array_equal(opened, self.ring.matmul(factors.astype(np.int32), clear))
                self.other.require(right, "answered a product that does not match the features: stop and find out why")

    def _audit_seed(self) -> bytes:
        return self.ring.zero_share(self.start.seed, next(self._splits), 1).tobytes()

    def finish(self, weights: Share) -> NDArray[np.float64] | None:
        """Step 10: end the training; return the party's own weights if they are released, else None."""
        self._turn("end")
        if not self.start.release:
            return None
        weights = self._split(weights)
        for channel in (self.other, *self.rest):
            channel.send(Released(np.ascontiguousarray(weights[:, self.columns[channel.peer]])))  # 10
        mine = np.ascontiguousarray(weights[:, self.columns[self.party.name]])
        return _joined(self.ring, mine, _released(self.ring, self.other, self.me.features.columns))

    def open_scores(self, z: Share) -> NDArray[np.float64] | None:
        """Step 11: give A the scores; returns them at A, None at H."""
        self._turn("end")
        z = self._split(z)
        if not self.leader:
            self.other.send(ScoreShares(z))  # 11
            return None
        theirs = self.other.receive(ScoreShares).shares
        self.other.require(theirs.shape == z.shape and self.ring.contains(theirs), "sent malformed shares of scores")
        return self.ring.to_float(self.ring.add(z, theirs)) / 2.0 ** (FEATURE_BITS + WEIGHT_BITS)


def feature_holder(
    party: Party, scheme: Scheme, features: Features, iterations: int
) -> tuple[Start, NDArray[np.float64] | None]:
    """The role of a feature holder that does not compute: answer until the label holder ends.

    Returns the label holder's opening and its own weights, shape (columns,), if they are released, else None.
    """
    _refuse_clear(party, scheme)
    a, h = party[party.parties[0]], party[party.parties[1]]
    me = _Owner.of(scheme, features)
    setups = _setup(party, features, np.zeros(0, dtype=np.uint8))  # 1
    keys = {}
    for asker in (a, h):
        with asker.blame():
            keys[asker.peer] = scheme.peer(setups[asker.peer].key)
    ring = Ring(scheme.primes)
    start = a.receive(Start)  # 2
    done = 0
    while (turn := a.receive(Turn)).what != "end":
        a.require(turn.part in features.parts and turn.what in ("scores", "gradient"), "asked for an unknown turn")
        from_a = me.reply(a, keys[a.peer], turn)  # 3, 4 or 7, 8
        from_h = me.reply(h, keys[h.peer], turn)
        h.send(Correction(ring.add(from_a, from_h)))
        done += turn.what == "gradient"
        party.report("train", done, iterations)
    if not start.release:
        return start, None
    return start, _joined(ring, *(_released(ring, channel, features.columns) for channel in (a, h)))  # 10


def _released(ring: Ring, sender: Channel, columns: int) -> Share:
    share = sender.receive(Released).shares
    sender.require(share.shape == (2, columns) and ring.contains(share), "released malformed shares")
    return share


def _joined(ring: Ring, one: Share, other: Share) -> NDArray[np.float64]:
    return ring.to_float(ring.add(one, other)) / 2.0**WEIGHT_BITS


def _refuse_clear(party: Party, scheme: Scheme) -> None:
    if party.networked and not scheme.networked:
        raise Refused(party.name, f"the scheme {scheme.name!r} encrypts nothing and may not use a network link")


def failure_bits(modulus_bits: float, rows: int, columns: int, iterations: int) -> float:
    """log2 of the probability that any truncation or lift of a training goes wrong (lift rule: 2^l / M a value).

    l: score 37 (|z| < 32 at 2^-32), link 41, gradient log2(rows) + 36 (|x| <= 8, |d| < 2), step 52, momentum 36.
    """
    per_row = 2.0 ** (37 + 1) + 2.0**41
    per_column = rows * 2.0**36 + 2.0**52 + 2.0**36
    total = iterations * (rows * per_row + columns * per_column)
    return math.log2(total) - modulus_bits


def refuse_overflow(ring: Ring, rows: int, columns: int, iterations: int) -> None:
    """Misuse for a configuration whose computed failure probability exceeds 2^-20."""
    bits = failure_bits(math.log2(ring.modulus), rows, columns, iterations)
    if bits > _FAILURE_LIMIT:
        raise Misuse(
            f"{iterations} iterations over {rows:,} rows and {columns} columns would fail with probability "
            f"2^{bits:.0f}, above 2^{_FAILURE_LIMIT}: train on fewer rows or iterations"
        )
