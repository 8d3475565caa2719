"""The `shared` protocol: its products and functions are exact, and what is sent gives nothing away."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from engine import he
from engine.errors import Misuse, PeerFault, Refused
from engine.kernels.ring import Ring
from engine.runtime.message import declared, decode, encode, spec_of
from engine.runtime.party import Agreement, Party
from engine.vertical import shared
from engine.vertical.glm import MESSAGES, LogisticRegression
from engine.vertical.series import REACH_LIMIT, reach, sigmoid, softplus_even
from engine.vertical.shared import Computing, Features, feature_holder
from engine.vertical.whitening import quantise

SCHEMES = ("clear", "rlwe")


def computing(play: Any, joint: Any, scheme: str, role: Any, **options: Any) -> dict[str, Any]:
    """Run `role(computing party, own quantised features)` at A and H, and the feature holder's role elsewhere."""

    def at(party: Party) -> Any:
        X = quantise(joint.of(party.name))
        features = Features({"train": X})
        if party.name not in joint.names[:2]:
            return feature_holder(party, he.scheme(scheme), features, 1)
        me = Computing(party, he.scheme(scheme), features, **options)
        result = role(me, X)
        me.finish(np.zeros((2, me.total), dtype=np.uint64))
        return result

    return play(dict.fromkeys(joint.names, at), MESSAGES)


def shares_of(ring: Ring, values: Any, leader: bool, seed: bytes = bytes(32)) -> Any:
    """One side's share of values that a test knows."""
    zero = ring.zero_share(seed, 999, len(values))
    return ring.add(ring.to_residues(values), zero) if leader else ring.negate(zero)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("columns", [(3, 4), (1, 5, 2), (2, 2, 2, 2)])
def test_scores_and_gradients_equal_the_integer_products(play: Any, joint: Any, scheme: str, columns: Any) -> None:
    data = joint(rows=97, columns=columns)
    rng = np.random.default_rng(5)
    w = rng.integers(-(2**22), 2**22, sum(columns))
    d = rng.integers(-(2**20), 2**20, 97)

    def role(me: Computing, X: Any) -> Any:
        z = me.scores("train", shares_of(me.ring, w, me.leader))
        g = me.gradient("train", shares_of(me.ring, d, me.leader))
        return me.ring, z, g

    got = computing(play, data, scheme, role)
    (ring, z_a, g_a), (_, z_h, g_h) = got["bank"], got["telco"]
    whole = quantise(data.whole).astype(np.int64)
    assert np.array_equal(ring.to_signed(ring.add(z_a, z_h)), whole @ w)
    assert np.array_equal(ring.to_signed(ring.add(g_a, g_h)), whole.T @ d)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("series", "bits"), [(sigmoid(), 20), (softplus_even(), 20), (reach(), 26)])
def test_functions_of_scores_on_shares(play: Any, joint: Any, scheme: str, series: Any, bits: int) -> None:
    """Finite and bounded even for scores far outside the series' range, where a polynomial would explode."""
    data = joint(rows=401)
    z = np.linspace(-20, 20, 401)

    def role(me: Computing, X: Any) -> Any:
        share = shares_of(me.ring, np.rint(z * 2.0**32).astype(np.int64), me.leader)
        return me.ring, me.link(share, series, bits)

    got = computing(play, data, scheme, role)
    ring = got["bank"][0]
    values = ring.to_float(ring.add(got["bank"][1], got["telco"][1])) / 2.0 ** (2 * bits)
    assert np.abs(values - series(z)).max() < 2.0 ** (4 - bits)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_loss_on_shares_is_the_log_loss(play: Any, joint: Any, scheme: str) -> None:
    data = joint(rows=200)
    z = np.random.default_rng(3).uniform(-8, 8, 200)

    def role(me: Computing, X: Any) -> float:
        share = shares_of(me.ring, np.rint(z * 2.0**32).astype(np.int64), me.leader)
        return me.open_sum(me.loss(share, softplus_even(), data.label(me.party.name)), 40) / 200

    got = computing(play, data, scheme, role)
    exact = float(np.mean(np.logaddexp(0, z) - data.y * z))
    assert got["bank"] == got["telco"] == pytest.approx(exact, abs=8e-3)


def test_reach_tells_a_single_score_near_the_end() -> None:
    calm = np.random.default_rng(0).normal(scale=2.5, size=100_000)
    assert reach()(calm).sum() < REACH_LIMIT / 2
    assert reach()(np.append(calm, -14.1)).sum() > REACH_LIMIT
    assert reach()(np.array([17.0, 25.0, 40.0])).min() > REACH_LIMIT


def test_truncation_needs_the_fresh_split(play: Any, joint: Any) -> None:
    """Shares (0, 0) truncate wrongly under the lift rule; split afresh they truncate to 0 or to one unit beside it."""
    zero = np.zeros((2, 1000), dtype=np.uint64)

    def role(me: Computing, X: Any) -> Any:
        return me.ring, me.truncate(zero, 20), me.ring.lift_truncate(zero, 20, me.leader)

    got = computing(play, joint(), "clear", role)
    ring = got["bank"][0]
    fresh, stale = (ring.to_float(ring.add(got["bank"][i], got["telco"][i])) for i in (1, 2))
    assert np.abs(fresh).max() <= 1
    assert np.abs(stale).min() > 2.0**60


@pytest.mark.parametrize("scheme", SCHEMES)
def test_shares_of_one_side_are_uniform(play: Any, joint: Any, scheme: str) -> None:
    data = joint(rows=4000)

    def role(me: Computing, X: Any) -> Any:
        z = me.scores("train", shares_of(me.ring, np.full(me.total, 1 << 20), me.leader))
        p = me.link(z, sigmoid(), 20)
        g = np.concatenate([me.gradient("train", p) for _ in range(30)], axis=1)
        return me.ring, z, p, g

    for ring, *shares in computing(play, data, scheme, role).values():
        for share in shares:
            for residues, prime in zip(share, ring.primes, strict=True):
                counts = np.bincount((residues * np.uint64(16) // np.uint64(prime)).astype(int), minlength=16)
                chi = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
                assert chi < 45  # 15 degrees of freedom: beyond this once in 10^4


def train(party: Party, data: Any, **options: Any) -> Any:
    estimator = LogisticRegression(**{"scheme": "rlwe", "max_iter": 2, "check_every": 1, **options})
    return estimator.fit(party, data.of(party.name), data.label(party.name))


@pytest.mark.parametrize("columns", [(3, 4), (2, 3, 2)])
def test_every_frame_is_a_declared_protected_message(tapped: Any, joint: Any, columns: Any) -> None:
    """Nothing but the protocol's messages crosses, and no two ciphertexts of a run are alike."""
    data = joint(columns=columns)
    frames: list[tuple[str, bytes]] = []

    def tap(sender: str, _: str, frame: bytes) -> bytes:
        frames.append((sender, frame))
        return frame

    tapped(data.names, MESSAGES, lambda party: train(party, data), tap)
    by_layout = {spec_of(kind).layout.to_bytes(4, "little"): kind for kind in (*MESSAGES, Agreement)}
    seen: Counter[str] = Counter()
    ciphertexts: list[bytes] = []
    for sender, frame in frames:
        message = decode(by_layout[frame[4:8]], frame, sender)
        seen[type(message).__name__] += 1
        values = getattr(message, "ciphertexts", ())
        arrays = values if isinstance(values, tuple) else (values,)
        ciphertexts += [row.tobytes() for array in arrays for row in array]
    assert {"Weights", "Scores", "Waves", "Link", "Residuals", "Gradients", "Opening", "Setup", "Start"} <= set(seen)
    assert ("Correction" in seen) == (len(columns) > 2)
    assert len(set(ciphertexts)) == len(ciphertexts) > 50


def test_sizes_depend_on_public_sizes_only(tapped: Any, joint: Any) -> None:
    def sizes(seed: int) -> list[tuple[str, str, int]]:
        data = joint(columns=(3, 2, 2), seed=seed)
        sent: list[tuple[str, str, int]] = []

        def tap(sender: str, receiver: str, frame: bytes) -> bytes:
            sent.append((sender, receiver, len(frame)))
            return frame

        tapped(data.names, MESSAGES, lambda party: train(party, data), tap)
        return sorted(sent)

    assert sizes(1) == sizes(2)


ANSWERS = {"Scores": "telco", "Link": "telco", "Gradients": "telco"}


@pytest.mark.parametrize("kind", [shared.Scores, shared.Link, shared.Gradients, shared.Weights, shared.Waves])
@pytest.mark.parametrize("harm", ["truncated", "noise", "empty"])
def test_a_malformed_ciphertext_names_the_peer(tapped: Any, joint: Any, kind: Any, harm: str) -> None:
    """Wrong size, residues that are not reduced, or nothing at all: an error that names the sender, no wrong model."""
    data = joint(rows=100)
    cheat = "bank" if kind is shared.Waves else "telco"

    def spoil(array: Any) -> Any:
        if harm == "truncated":
            return np.ascontiguousarray(array[:, :-8])
        return np.full_like(array, 0xFF) if harm == "noise" else array[:0]

    def meddle(sender: str, _: str, frame: bytes) -> bytes:
        if sender != cheat or frame[4:8] != spec_of(kind).layout.to_bytes(4, "little"):
            return frame
        message = decode(kind, frame, sender)
        values = message.ciphertexts
        spoiled = tuple(map(spoil, values)) if isinstance(values, tuple) else spoil(values)
        return b"".join(encode(kind(spoiled)))

    with pytest.raises(PeerFault) as fault:
        tapped(data.names, MESSAGES, lambda party: train(party, data), meddle)
    assert fault.value.peer == cheat


def test_a_planted_error_changes_the_loss_and_the_audit_names_it(tapped: Any, joint: Any) -> None:
    """One unit added to one coefficient of one returned gradient; semi-honest by assumption, caught in debug mode."""
    data = joint(rows=300)

    def plant(sender: str, _: str, frame: bytes) -> bytes:
        if sender != "telco" or frame[4:8] != spec_of(shared.Gradients).layout.to_bytes(4, "little"):
            return frame
        ciphertexts = decode(shared.Gradients, frame, sender).ciphertexts.copy()
        ring = Ring(he.scheme("clear").primes)
        residues = ciphertexts.reshape(-1).view(np.uint64)
        residues[0] = (residues[0] + np.uint64(1)) % np.uint64(ring.primes[0])
        return b"".join(encode(shared.Gradients(ciphertexts)))

    def leave(_: str, __: str, frame: bytes) -> bytes:
        return frame

    options = {"scheme": "clear", "max_iter": 4}
    honest = tapped(data.names, MESSAGES, lambda p: train(p, data, **options), leave)["bank"].course.losses
    changed = tapped(data.names, MESSAGES, lambda p: train(p, data, **options), plant)["bank"].course.losses
    assert abs(honest[-1][1] - changed[-1][1]) > 1e-3
    with pytest.raises(PeerFault, match="does not match the features"):
        tapped(data.names, MESSAGES, lambda p: train(p, data, audit=True, **options), plant)
    tapped(data.names, MESSAGES, lambda p: train(p, data, audit=True, **options), leave)


def test_clear_refuses_a_network_link(joint: Any) -> None:
    from engine.runtime.local import Network, run

    data = joint()
    network = Network(data.names, networked=True)

    def role(name: str) -> Any:
        return train(Party(name, data.names, network.links(name), MESSAGES), data, scheme="clear")

    with pytest.raises(Refused, match="encrypts nothing"):
        run(network, {name: lambda name=name: role(name) for name in data.names})


def test_a_configuration_that_would_fail_too_often_is_refused() -> None:
    ring = Ring(he.scheme("clear").primes)
    shared.refuse_overflow(ring, 1_000_000, 300, 15)
    with pytest.raises(Misuse, match="train on fewer rows"):
        shared.refuse_overflow(ring, 1 << 33, 300, 1000)


def test_every_message_of_the_protocols_is_declared() -> None:
    assert set(MESSAGES) <= set(declared())
    assert all(str(spec_of(kind).protection) for kind in MESSAGES)
