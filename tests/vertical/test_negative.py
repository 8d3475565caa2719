"""What joint training must refuse, hide and survive; each test names the promise it holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import he, jobfile
from engine.errors import Misuse, PeerFault
from engine.kernels.ring import Ring
from engine.psi import align
from engine.runtime.message import decode, encode, spec_of
from engine.runtime.party import Party
from engine.vertical import glm, job, score, shared
from engine.vertical.glm import MESSAGES, LogisticRegression
from engine.vertical.whitening import FEATURE_BITS, Whitening, quantise

RING = Ring(he.scheme("clear").primes)


def fit(data: Any, **options: Any) -> Callable[[Party], Any]:
    estimator = LogisticRegression(**{"scheme": "clear", "max_iter": 3, "check_every": 1, **options})
    return lambda party: estimator.fit(party, data.of(party.name), data.label(party.name))


def of(kind: type[Any], frame: bytes) -> bool:
    return frame[4:8] == spec_of(kind).layout.to_bytes(4, "little")


def recorded(
    tapped: Any, names: Any, role: Callable[[Party], Any], *kinds: type[Any]
) -> list[tuple[str, str, type[Any], Any]]:
    """Run the role everywhere; return (sender, receiver, class, message) of the messages of these classes, in order."""
    seen: list[tuple[str, str, type[Any], Any]] = []

    def tap(sender: str, receiver: str, frame: bytes) -> bytes:
        seen.extend((sender, receiver, kind, decode(kind, frame, sender)) for kind in kinds if of(kind, frame))
        return frame

    tapped(names, MESSAGES, role, tap)
    return seen


def uniform(residues: NDArray[np.uint64], bound: int) -> bool:
    """Chi-square of 16 bins; a uniform sample fails once in 10^6."""
    counts = np.bincount((residues.reshape(-1) * np.uint64(16) // np.uint64(bound)).astype(np.int64), minlength=16)
    return bool(((counts - counts.mean()) ** 2 / counts.mean()).sum() < 58)


# The plan, before any data moves.

JOB = """
seed = {seed}
evaluate_fraction = 0.3
[parties.bank]
train = "bank.csv"
id = "id"
label = "y"
[parties.telco]
train = "telco.csv"
id = "id"
[align]
min_intersection = {least}
[model]
name = "logistic_regression"
l2 = {l2}
scheme = "clear"
[evaluate]
metrics = ["{metric}"]
"""
AGREED: dict[str, Any] = {"seed": 1, "least": 10, "l2": 1.0, "metric": "auc"}


@pytest.mark.parametrize(
    ("change", "section"),
    [({"seed": 2}, "parts"), ({"least": 11}, "align"), ({"l2": 2.0}, "model"), ({"metric": "ks"}, "evaluate")],
)
def test_jobs_that_differ_part_before_anything_is_matched(
    play: Any, tmp_path: Path, change: dict[str, Any], section: str
) -> None:
    lines = [f"{i},{i % 2},{i * 7 % 11}" for i in range(60)]
    for name, header in (("bank", "id,y,age"), ("telco", "id,calls,bill")):
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *lines]))
    ledgers = {}

    def role(party: Party) -> Any:
        ledgers[party.name] = party.ledger
        mine = AGREED | (change if party.name == "telco" else {})
        plan = jobfile.parse(JOB.format(**mine), tmp_path, job.parameters_of)
        return job.play(party, plan, job.read(plan, party.name))

    with pytest.raises(PeerFault, match=f"they differ in (model, )?{section}"):
        play({"bank": role, "telco": role}, (*align.MESSAGES, *MESSAGES))
    sent = {entry.message.split(".")[-1] for ledger in ledgers.values() for entry in ledger.entries()}
    assert sent == {"Agreement"}


# Bounds: the clip, the failure budget, scores.


@pytest.mark.parametrize("release", ["weights-to-owner", "none"])
def test_values_beyond_the_clip_count_as_the_clip_in_training_and_in_serving(
    play: Any, joint: Any, release: str
) -> None:
    """Nothing larger than +-8 deviations enters a product, so the bounds of the truncations hold for any later row."""
    data = joint(rows=400, columns=(2, 1))
    data.X[1][0, 0] = 1e6
    parts = play(dict.fromkeys(data.names, fit(data, release=release)), MESSAGES)
    for outlier in (1e9, 1e300):
        far, clipped = (
            play(
                {
                    "bank": lambda p: parts["bank"].decision_function(p, data.X[0][:1]),
                    "telco": lambda p, x=x: parts["telco"].decision_function(p, np.array([[x]])),
                },
                MESSAGES,
            )["bank"]
            for x in (outlier, 8 / parts["telco"].whitening.matrix[0, 0] + parts["telco"].whitening.mean[0])
        )
        assert np.isfinite(far).all()
        assert far == pytest.approx(clipped, abs=1e-2)
    assert np.abs(quantise(np.array([1e300, -1e300, 8.0]))).max() == (8 << FEATURE_BITS) - 1


def test_features_that_are_not_finite_are_refused() -> None:
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(Misuse, match="not finite"):
            Whitening.fit(np.array([[0.0], [value]]))


def test_training_refuses_a_failure_probability_above_its_limit(
    play: Any, joint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, ledgers = joint(rows=100), {}

    def role(party: Party) -> Any:
        ledgers[party.name] = party.ledger
        return fit(data)(party)

    monkeypatch.setattr(shared, "_FAILURE_LIMIT", -60)
    with pytest.raises(Misuse, match=r"3 iterations over 100 rows and 8 columns would fail .* above 2\^-60"):
        play(dict.fromkeys(data.names, role), MESSAGES)
    sent = {entry.message.split(".")[-1] for ledger in ledgers.values() for entry in ledger.entries()}
    assert sent <= {"Agreement", "Setup", "Start"}


def test_the_failure_budget_counts_every_truncation_and_lift() -> None:
    """Of each row the score (lifted and truncated) and the link, whose bound dominates; of each column three."""
    n, f, iterations = 100_000, 300, 15
    one = 2 * 2.0**37 + 2.0**41
    total = iterations * (n * one + f * (n * 2.0**36 + 2.0**52 + 2.0**36))
    assert shared.failure_bits(90, n, f, iterations) == pytest.approx(np.log2(total) - 90)
    assert shared.failure_bits(90, n, 1, iterations) > np.log2(iterations * n * 2.0**41) - 90


def test_training_stays_finite_with_scores_beyond_the_series(
    play: Any, joint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where nothing stops it, the link is bounded: no loss, no weight becomes infinite or not a number."""
    monkeypatch.setattr(glm, "REACH_LIMIT", np.inf)
    data = joint(rows=400, columns=(2, 2), strength=50.0)
    parts = play(dict.fromkeys(data.names, fit(data, max_iter=120, check_every=30, l2=0.0)), MESSAGES)
    z = play({n: lambda p: parts[p.name].decision_function(p, data.of(p.name)) for n in data.names}, MESSAGES)["bank"]
    assert np.abs(z).max() > 20
    assert np.isfinite(z).all()
    assert np.isfinite([loss for _, loss in parts["bank"].course.losses]).all()


# Shares: fresh before every truncation, lift and opening; uniform wherever one party sees them.


@pytest.mark.parametrize("columns", [(3, 4), (2, 3, 2)])
def test_every_truncation_and_lift_finds_uniform_shares(
    play: Any, joint: Any, columns: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first iteration on, whose weights and momentum both sides would otherwise hold as zeros."""
    seen: dict[bool, list[NDArray[np.uint64]]] = {True: [], False: []}
    truncate, phase = Ring.lift_truncate, Ring.lift_phase

    def noting(method: Any) -> Any:
        def noted(ring: Ring, share: NDArray[np.uint64], *rest: Any) -> Any:
            seen[bool(rest[1] if method is truncate else rest[0])].append(share.copy())
            return method(ring, share, *rest)

        return noted

    monkeypatch.setattr(Ring, "lift_truncate", noting(truncate))
    monkeypatch.setattr(Ring, "lift_phase", noting(phase))
    data = joint(rows=500, columns=columns)
    play(dict.fromkeys(data.names, fit(data)), MESSAGES)
    for shares in seen.values():
        assert len(shares) > 12
        assert all((share != 0).mean() > 0.99 for share in shares)
        whole = np.concatenate(shares, axis=1)
        assert all(uniform(row, prime) for row, prime in zip(whole, RING.primes, strict=True))


def test_what_the_helper_and_the_label_holder_are_sent_is_uniform(tapped: Any, joint: Any) -> None:
    """Corrections of a further feature holder, and openings, tell nothing without the other side's share."""
    data = joint(rows=3000, columns=(2, 3, 2))
    seen = recorded(tapped, data.names, fit(data), shared.Correction, shared.Opening)
    corrections = np.concatenate([m.shares for *_, kind, m in seen if kind is shared.Correction], axis=1)
    assert all(uniform(row, prime) for row, prime in zip(corrections, RING.primes, strict=True))
    assert {(sender, receiver) for sender, receiver, kind, _ in seen if kind is shared.Correction} == {
        ("bureau", "telco")
    }
    openings = [m.share for *_, kind, m in seen if kind is shared.Opening]
    assert len({share.tobytes() for share in openings}) == len(openings)


def test_nothing_is_opened_while_training_but_one_scalar_at_a_time(tapped: Any, joint: Any) -> None:
    data = joint(rows=300)
    seen = recorded(tapped, data.names, fit(data), shared.Opening, shared.ScoreShares)
    assert [m.share.shape for *_, m in seen] == [(2, 1)] * (3 * 2 * 2)  # looks, scalars a look, directions


def test_no_loss_of_a_few_rows_is_shown(play: Any, joint: Any) -> None:
    """The helper sees the loss too; of one row it would be that row's label."""
    data, more = joint(rows=300), joint(rows=50, seed=3)
    for rows, watched in ((50, "monitor"), (49, "train"), (1, "train")):

        def role(party: Party, rows: int = rows) -> Any:
            labels = more.label(party.name)
            monitor = (more.of(party.name)[:rows], None if labels is None else labels[:rows])
            estimator = LogisticRegression(scheme="clear", max_iter=1)
            return estimator.fit(party, data.of(party.name), data.label(party.name), monitor=monitor)

        parts = play(dict.fromkeys(data.names, role), MESSAGES)
        assert {part.course.measured_on for part in parts.values()} == {watched}
    with pytest.raises(Misuse, match="held-out rows, which could tell their labels: hold out 50 or more"):
        play(dict.fromkeys(data.names, fit(data, early_stopping=True)), MESSAGES)


def test_a_further_feature_holder_gets_no_seed_and_nothing_unsealed(tapped: Any, joint: Any) -> None:
    data = joint(rows=300, columns=(2, 3, 2))
    seen = recorded(tapped, data.names, fit(data, release="none"), *MESSAGES)
    to_bureau = {kind for _, receiver, kind, _ in seen if receiver == "bureau"}
    assert to_bureau == {shared.Setup, shared.Start, shared.Turn, shared.Weights, shared.Residuals}
    (start,) = [m for _, receiver, kind, m in seen if kind is shared.Start and receiver == "bureau"]
    assert start.seed == b""
    assert not start.release


def test_another_session_has_other_seeds_and_models(tapped: Any, joint: Any) -> None:
    data = joint(rows=100)
    starts = [recorded(tapped, data.names, fit(data, max_iter=1), shared.Start)[0][3] for _ in range(2)]
    assert starts[0].seed != starts[1].seed
    assert starts[0].model != starts[1].model


# The release of weights.


def test_weights_leave_only_to_their_owner_and_only_by_policy_and_guard(tapped: Any, joint: Any) -> None:
    data = joint(rows=400, columns=(2, 3, 2))
    sizes = {"bank": 3, "telco": 3, "bureau": 2}  # the label holder's with the intercept
    seen = recorded(tapped, data.names, fit(data), shared.Released)
    assert {(sender, receiver, m.shares.shape[1]) for sender, receiver, _, m in seen} == {
        (one, other, sizes[other]) for one in ("bank", "telco") for other in data.names if one != other
    }
    assert recorded(tapped, data.names, fit(data, release="none"), shared.Released) == []
    wide = joint(rows=400, columns=(2, 60))
    assert recorded(tapped, wide.names, fit(wide), shared.Released) == []


def test_without_the_guard_released_weights_would_tell_the_labels(
    play: Any, joint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step from zero gives a feature holder X^T (1/2 - y); a linear programme finds y if columns are many.

    With the columns that the guard allows the same programme does no better than guessing the larger class.
    """
    release_all = shared.Computing

    def unguarded(party: Party, scheme: Any, features: Any, _: int = 0) -> Any:
        return release_all(party, scheme, features, 1 << 16)

    monkeypatch.setattr(glm, "Computing", unguarded)
    right = {}
    for columns in (250, 12):
        data = joint(rows=512, columns=(1, columns), strength=0.1)
        data.y[:] = np.random.default_rng(2).random(512) < 0.22
        assert 12 <= min(data.y.sum(), 512 - data.y.sum()) // 8 < 250
        parts = play(dict.fromkeys(data.names, fit(data, max_iter=1, l2=0.0)), MESSAGES)
        guessed = attack(quantise(parts["telco"].whitening.apply(data.of("telco"))), parts["telco"].weights, parties=2)
        right[columns] = float((guessed == data.y).mean())
    assert right[250] == 1.0
    assert right[12] < 0.8


def attack(columns: NDArray[np.int16], weights: NDArray[np.float64], parties: int) -> NDArray[np.float64]:
    """What a feature holder computes from its own columns and its weights after one step: the likeliest labels."""
    from scipy.optimize import linprog

    X, n = columns / 2.0**FEATURE_BITS, len(columns)
    told = X.T @ np.full(n, 0.5) + weights * 0.3 * parties * n  # X^T y, up to rounding
    slack = 2e-3 * n**0.5
    found = linprog(
        np.ones(n), A_ub=np.vstack([X.T, -X.T]), b_ub=np.concatenate([told + slack, slack - told]), bounds=(0, 1)
    )
    assert found.status == 0
    return np.asarray(found.x > 0.5, dtype=np.float64)


# Peers that bring or send what does not fit.


def test_other_rows_are_found_before_anything_is_encrypted(play: Any, joint: Any) -> None:
    data, fewer, ledgers = joint(rows=100), joint(rows=99), {}

    def role(party: Party) -> Any:
        ledgers[party.name] = party.ledger
        return fit(fewer if party.name == "telco" else data)(party)

    with pytest.raises(PeerFault, match="brings other rows: align before training"):
        play(dict.fromkeys(data.names, role), MESSAGES)
    sent = {entry.message.split(".")[-1] for ledger in ledgers.values() for entry in ledger.entries()}
    assert sent <= {"Agreement", "Setup", "Start"}


BAD_SHARES = {
    "not reduced": lambda share: np.full_like(share, RING.primes[0]),
    "of another size": lambda share: np.concatenate([share, share], axis=1),
    "of no size": lambda share: share[:, :0].copy(),
    "of one prime": lambda share: share[:1].copy(),
}


@pytest.mark.parametrize("harm", BAD_SHARES)
@pytest.mark.parametrize(
    ("kind", "cheat", "victim"),
    [
        (shared.Opening, "telco", "bank"),
        (shared.Opening, "bank", "telco"),
        (shared.Released, "telco", "bank"),
        (shared.Released, "bank", "telco"),
        (shared.Released, "bank", "bureau"),
        (shared.Released, "telco", "bureau"),
        (shared.Correction, "bureau", "telco"),
    ],
)
def test_malformed_shares_name_the_peer(tapped: Any, joint: Any, kind: Any, cheat: str, victim: str, harm: str) -> None:
    data = joint(rows=400, columns=(2, 2, 2))
    ((field, _),) = spec_of(kind).fields

    def meddle(sender: str, receiver: str, frame: bytes) -> bytes:
        if (sender, receiver) != (cheat, victim) or not of(kind, frame):
            return frame
        return b"".join(encode(kind(BAD_SHARES[harm](getattr(decode(kind, frame, sender), field)))))

    with pytest.raises(PeerFault, match="malformed") as fault:
        tapped(data.names, MESSAGES, fit(data), meddle)
    assert fault.value.peer == cheat


@pytest.mark.parametrize(
    ("kind", "spoil", "cheat", "says"),
    [
        (shared.Setup, lambda m: shared.Setup(m.parts, m.rows, 0, True, m.key), "telco", "no columns"),
        (shared.Setup, lambda m: shared.Setup(m.parts, m.rows, -1, True, m.key), "bureau", "no columns"),
        (shared.Setup, lambda m: shared.Setup(m.parts, m.rows, 1 << 20, True, m.key), "telco", "too many"),
        (shared.Setup, lambda m: shared.Setup(m.parts, m.rows, m.columns, True, m.key[1:]), "telco", "invalid"),
        (shared.Start, lambda m: shared.Start(m.release, m.model, b"short"), "bank", "seed of another length"),
        (shared.Turn, lambda m: shared.Turn("labels", m.part), "bank", "unknown turn"),
        (shared.Turn, lambda m: shared.Turn("scores", "secrets"), "bank", "unknown turn"),
        (shared.Waves, lambda m: shared.Waves(m.ciphertexts[:-1]), "bank", "another number of harmonics"),
    ],
)
def test_messages_that_no_party_can_send_name_the_peer(
    tapped: Any, joint: Any, kind: Any, spoil: Any, cheat: str, says: str
) -> None:
    data = joint(rows=100, columns=(2, 2, 2))

    def meddle(sender: str, _: str, frame: bytes) -> bytes:
        return b"".join(encode(spoil(decode(kind, frame, sender)))) if sender == cheat and of(kind, frame) else frame

    with pytest.raises(PeerFault, match=says) as fault:
        tapped(data.names, MESSAGES, fit(data), meddle)
    assert fault.value.peer == cheat


@pytest.mark.parametrize("harm", BAD_SHARES)
def test_malformed_shares_of_scores_name_the_helper(tapped: Any, joint: Any, harm: str) -> None:
    data = joint(rows=100)

    def meddle(sender: str, _: str, frame: bytes) -> bytes:
        if not of(shared.ScoreShares, frame):
            return frame
        spoilt = BAD_SHARES[harm](decode(shared.ScoreShares, frame, sender).shares)
        return b"".join(encode(shared.ScoreShares(spoilt)))

    parts = tapped(data.names, MESSAGES, fit(data, release="none"), lambda *frame: frame[2])
    with pytest.raises(PeerFault, match="malformed shares of scores") as fault:
        tapped(data.names, MESSAGES, lambda p: parts[p.name].decision_function(p, data.of(p.name)), meddle)
    assert fault.value.peer == "telco"


# Scores from weights that their owners know.


def partial_scores(tapped: Any, values: dict[str, Any], meddle: Any = None) -> tuple[Any, dict[str, Any]]:
    """Add up the parties' parts; return what the label holder gets and what each of the others sent it."""
    seen: dict[str, Any] = {}

    def tap(sender: str, receiver: str, frame: bytes) -> bytes:
        frame = meddle(sender, frame) if meddle else frame
        if of(score.MaskedScores, frame):
            seen[sender] = decode(score.MaskedScores, frame, sender).values
        return frame

    def role(party: Party) -> Any:
        first = party.name == party.parties[0]
        return (score.label_holder if first else score.feature_holder)(party, values[party.name])

    names = tuple(values)
    return tapped(names, score.MESSAGES, role, tap)[names[0]], seen


@pytest.mark.parametrize("holders", [2, 3])
def test_the_label_holder_sees_only_the_sum_of_the_parts(tapped: Any, holders: int) -> None:
    names = ("bank", "telco", "bureau", "shop")[: holders + 1]
    values = {name: np.random.default_rng(i).normal(size=4000) for i, name in enumerate(names)}
    got, seen = partial_scores(tapped, values)
    assert np.abs(got - sum(values.values())).max() <= holders * 2.0**-11 + 1e-9
    for name, sent in seen.items():
        assert uniform(sent >> np.uint64(8), 1 << 56), name
    again = partial_scores(tapped, values)[1]
    assert all((seen[name] != again[name]).mean() > 0.99 for name in seen)


def test_parts_of_another_size_or_seed_name_the_peer(tapped: Any) -> None:
    values = {name: np.zeros(5) for name in ("bank", "telco", "bureau")}
    spoilt = {
        score.MaskedScores: (lambda m: score.MaskedScores(m.values[1:].copy()), "scored another number of rows"),
        score.PairSeed: (lambda m: score.PairSeed(m.seed[1:]), "seed of another length"),
    }
    for kind, (spoil, says) in spoilt.items():

        def meddle(sender: str, frame: bytes, kind: Any = kind, spoil: Any = spoil) -> bytes:
            cheats = sender == "telco" and of(kind, frame)
            return b"".join(encode(spoil(decode(kind, frame, sender)))) if cheats else frame

        with pytest.raises(PeerFault, match=says) as fault:
            partial_scores(tapped, values, meddle)
        assert fault.value.peer == "telco"


def test_a_party_that_leaves_its_zero_share_out_makes_no_score(tapped: Any) -> None:
    values = {name: np.zeros(50) for name in ("bank", "telco", "bureau")}

    def meddle(sender: str, frame: bytes) -> bytes:
        if sender != "telco" or not of(score.MaskedScores, frame):
            return frame
        return b"".join(encode(score.MaskedScores(np.zeros(50, dtype=np.uint64))))

    got, _ = partial_scores(tapped, values, meddle)
    assert np.abs(got).min() > 2**20
