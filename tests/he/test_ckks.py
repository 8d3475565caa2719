"""CKKS vectors: results within the bound, bounds above what is measured, floods that are there, and refusals."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pytest

from engine.errors import Misuse
from engine.he.ckks import Ckks
from engine.he.ckks_context import DISTANCE
from engine.he.ckks_parameters import HEADER, SECURE

PLAIN = Ckks(values=100, levels=2)
FULL = Ckks(values=10, bits=2, degree=16384, levels=4, products=True, sums=True)
SMALL = Ckks(values=5, levels=0, sums=True)


@lru_cache
def parties(scheme):
    key = scheme.key()
    return key, scheme.peer(key.public)


def rows(scheme, count=2, seed=1):
    return np.random.default_rng(seed).uniform(-(2**scheme.bits), 2**scheme.bits, (count, scheme.values))


def factors(scheme, count=None, seed=2):
    shape = scheme.values if count is None else (count, scheme.values)
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def answer(scheme, encrypted):
    key, peer = parties(scheme)
    return key.decrypt(peer.to_bytes(encrypted))


def slots_of(key, encrypted, row=0):
    """The slots of a ciphertext in a peer's hands, read with the owner's key."""
    plain = key._context.api.Plaintext()
    key._decryptor.decrypt(encrypted._rows[row], plain)
    return key._context.decoded(plain)


PLAIN_CASES = {
    "as it came": (lambda p, c, w, m: c, lambda x, w, m: x),
    "add": (lambda p, c, w, m: p.add(c, c), lambda x, w, m: x + x),
    "add plain": (lambda p, c, w, m: p.add(c, w), lambda x, w, m: x + w),
    "add a number": (lambda p, c, w, m: p.add(c, -2.5), lambda x, w, m: x - 2.5),
    "subtract": (lambda p, c, w, m: p.subtract(p.times(c, w), p.lower(c)), lambda x, w, m: x * w - x),
    "subtract plain": (lambda p, c, w, m: p.subtract(c, m), lambda x, w, m: x - m),
    "times": (lambda p, c, w, m: p.times(c, w), lambda x, w, m: x * w),
    "times rows": (lambda p, c, w, m: p.times(c, m), lambda x, w, m: x * m),
    "times twice": (lambda p, c, w, m: p.times(p.times(c, w), -3.0), lambda x, w, m: x * w * -3),
    "nothing left": (lambda p, c, w, m: p.subtract(c, c), lambda x, w, m: 0 * x),
    "times nothing": (lambda p, c, w, m: p.times(c, 0.0), lambda x, w, m: 0 * x),
}


@pytest.mark.parametrize("case", PLAIN_CASES)
def test_results_are_within_the_error_agreed(case):
    encrypted, plain = PLAIN_CASES[case]
    x, w, m = rows(PLAIN), factors(PLAIN), factors(PLAIN, 2)
    key, peer = parties(PLAIN)
    result = encrypted(peer, peer.from_bytes(key.encrypt(x)), w, m)
    expected = plain(x, w, m)
    assert np.abs(expected).max() <= result.bound
    assert answer(PLAIN, result).shape == (2, 100)
    assert np.abs(answer(PLAIN, result) - expected).max() < PLAIN.error


FULL_CASES = {
    "multiply": (lambda p, c, d, w: p.multiply(c, d), lambda x, y, w: x * y),
    "square twice": (lambda p, c, d, w: p.multiply(p.multiply(c, c), p.multiply(c, d)), lambda x, y, w: x**3 * y),
    "plain, then ciphertexts": (
        lambda p, c, d, w: p.multiply(p.times(c, w), p.lower(d)),
        lambda x, y, w: x * w * y,
    ),
    "sum": (lambda p, c, d, w: p.sum(c), lambda x, y, w: x.sum(1, keepdims=True)),
    "dot": (lambda p, c, d, w: p.dot(c, w), lambda x, y, w: (x * w).sum(1, keepdims=True)),
    "dot of ciphertexts": (lambda p, c, d, w: p.dot(c, d), lambda x, y, w: (x * y).sum(1, keepdims=True)),
    "dot, then plain": (
        lambda p, c, d, w: p.add(p.times(p.dot(c, w), np.array([[2.0], [-1.0]])), 0.5),
        lambda x, y, w: (x * w).sum(1, keepdims=True) * [[2.0], [-1.0]] + 0.5,
    ),
}


@pytest.mark.parametrize("case", FULL_CASES)
def test_products_and_sums_of_ciphertexts(case):
    encrypted, plain = FULL_CASES[case]
    x, y, w = rows(FULL), rows(FULL, seed=3), factors(FULL)
    key, peer = parties(FULL)
    result = encrypted(peer, *(peer.from_bytes(key.encrypt(part)) for part in (x, y)), w)
    expected = plain(x, y, w)
    assert np.abs(expected).max() <= result.bound
    decrypted = answer(FULL, result)
    assert decrypted.shape == expected.shape
    assert np.abs(decrypted - expected).max() < FULL.error


NOISES = {
    "fresh": lambda p, zero, y, w: zero,
    "times": lambda p, zero, y, w: p.times(zero, w),
    "times a large number": lambda p, zero, y, w: p.times(zero, 2.0**14),
    "sum": lambda p, zero, y, w: p.sum(zero),
    "multiply": lambda p, zero, y, w: p.multiply(zero, y),
    "dot": lambda p, zero, y, w: p.dot(zero, w),
    "dot of ciphertexts": lambda p, zero, y, w: p.dot(zero, y),
    "nothing left": lambda p, zero, y, w: p.subtract(zero, zero),
}


@pytest.mark.parametrize("case", NOISES)
def test_noise_stays_below_its_bound_and_near_it(case):
    key, peer = parties(FULL)
    zero, y = (peer.from_bytes(key.encrypt(values)) for values in (np.zeros(10), rows(FULL, 1)))
    result = NOISES[case](peer, zero, y, factors(FULL))
    noise = slots_of(key, result) * FULL.scales[result.level]  # nothing else is in these slots
    measured = math.sqrt(2 * np.mean(noise**2))  # slots are complex, and we see their real parts
    assert result.noise / 2**8 < measured < result.noise


def test_every_level_has_one_scale():
    key, peer = parties(FULL)
    c = peer.from_bytes(key.encrypt(rows(FULL)))
    seen = [c, peer.lower(c), peer.multiply(c, c), peer.lower(peer.multiply(c, c))]
    seen.append(peer.multiply(seen[2], seen[2]))
    for result in seen:
        scale = result._rows[0].scale
        assert scale == FULL.scales[result.level]
        assert abs(scale / 2.0**FULL.scale_bits - 1) < 2**-18


def test_floods_are_sums_of_three_uniform_numbers_of_the_width_agreed():
    context, bits = PLAIN.context, PLAIN.flood_bits
    p, q = context.primes[:2]
    one, other = q * pow(q, -1, p), p * pow(p, -1, q)
    numbers = []
    for a, b in np.concatenate([context.flood(bits).T for _ in range(8)]).tolist():
        number = (a * one + b * other) % (p * q)
        numbers.append(number - p * q if 2 * number > p * q else number)
    assert max(abs(number) for number in numbers) <= 3 << bits - 1
    odd = sum(number & 1 for number in numbers) / len(numbers)
    assert abs(odd - 0.5) < 6 / (2 * len(numbers) ** 0.5)
    units = np.array([number / 2.0**bits for number in numbers])
    assert abs(units.mean()) < 6 * 0.5 / len(units) ** 0.5
    assert abs(units.std() / 0.5 - 1) < 6 / (2 * len(units)) ** 0.5
    edges = np.array([-1.5, -0.5, 0.5, 1.5])
    shares = np.histogram(units, edges)[0] / len(units)
    assert np.abs(shares - np.array([1, 4, 1]) / 6).max() < 6 * 0.5 / len(units) ** 0.5


def test_a_narrow_flood_has_the_probabilities_of_the_exact_sum():
    p = PLAIN.context.primes[0]
    drawn = np.concatenate([PLAIN.context.flood(1)[0] for _ in range(8)]).astype(np.int64)
    drawn = np.where(drawn > p // 2, drawn - p, drawn)
    counts = [int((drawn == value).sum()) for value in range(-3, 3)]
    assert sum(counts) == len(drawn)
    expected = np.diff([0, 1 / 48, 1 / 6, 1 / 2, 5 / 6, 47 / 48, 1])
    assert np.abs(np.array(counts) / len(drawn) - expected).max() < 6 * 0.5 / len(drawn) ** 0.5


def test_the_distance_of_a_flood_follows_from_its_density():
    x = (np.arange(600_000) + 0.5) / 200_000  # the density of three uniform numbers, W = 1
    density = np.select([x < 1, x < 2], [x**2 / 2, 0.75 - (x - 1.5) ** 2], (3 - x) ** 2 / 2)
    slope = np.select([x < 1, x < 2], [x, 3 - 2 * x], x - 3)
    information = np.sum(slope**2 / density) / 200_000
    assert math.sqrt(information) / 2 < DISTANCE < math.sqrt(information) / 2 + 0.01
    shift = 20_000  # a tenth
    distance = (
        np.abs(density[shift:] - density[:-shift]).sum() / 2 + density[:shift].sum() / 2 + density[-shift:].sum() / 2
    )
    assert distance / 200_000 < DISTANCE * 0.1


@pytest.mark.parametrize(("method", "floods"), [("decrypt", 2), ("decrypt_unflooded", 1)])
def test_answers_carry_the_floods_of_the_peer_and_of_the_owner(method, floods):
    key, peer = parties(PLAIN)
    x = rows(PLAIN, 8)
    off = getattr(key, method)(peer.to_bytes(peer.from_bytes(key.encrypt(x)))) - x
    deviation = math.sqrt(floods * PLAIN.degree / 2) / 2 * 2.0 ** (PLAIN.flood_bits - PLAIN.scale_bits)
    assert abs(off.std() / deviation - 1) < 6 / (2 * off.size) ** 0.5
    assert PLAIN.error / 40 < off.std() < PLAIN.error / 10
    unflooded = slots_of(key, peer.from_bytes(key.encrypt(x)))[:100] - x[0]
    assert np.abs(unflooded).max() < off.std() * 2**-28  # what the flood hides


def test_each_decryption_draws_its_own_flood():
    key, peer = parties(PLAIN)
    sent = peer.to_bytes(peer.from_bytes(key.encrypt(rows(PLAIN))))
    assert (key.decrypt(sent) != key.decrypt(sent)).all()
    assert (key.decrypt_unflooded(sent) == key.decrypt_unflooded(sent)).all()


def test_answers_are_rerandomised():
    key, peer = parties(PLAIN)
    c = peer.from_bytes(key.encrypt(rows(PLAIN, 1)))
    bodies = [np.frombuffer(peer.to_bytes(c).tobytes()[HEADER:], "<u8").reshape(2, 2, -1) for _ in range(2)]
    assert (bodies[0] != bodies[1]).mean() > 0.999
    low = bodies[0][1, 0] / PLAIN.context.primes[0]
    assert abs(low.mean() - 0.5) < 6 / (12 * low.size) ** 0.5


def test_flooding_is_refused_where_it_would_not_hide_the_noise():
    scheme = Ckks(values=100, error=2.0**-21)
    key, peer = parties(scheme)
    c = peer.from_bytes(key.encrypt(rows(scheme)))
    with pytest.raises(Misuse, match="flooding"):
        peer.to_bytes(c)
    scheme = Ckks(values=100, levels=2, error=2.0**-15)
    key, peer = parties(scheme)
    c = peer.from_bytes(key.encrypt(rows(scheme)))
    for factor in (1.0, 2.0**4):
        assert peer.to_bytes(peer.times(c, factor)).size
    with pytest.raises(Misuse, match="flooding"):
        peer.to_bytes(peer.times(peer.times(c, 2.0**6), 2.0**6))


def test_roundings_that_exceed_the_error_are_refused():
    key, peer = parties(PLAIN)
    c = peer.times(peer.from_bytes(key.encrypt(rows(PLAIN))), factors(PLAIN))
    assert c.rounding < PLAIN.error / 100
    with pytest.raises(Misuse, match="could be off"):
        peer.to_bytes(type(c)(peer, c.level, c.bound, c.noise, PLAIN.error / 3, False, c._rows))


def test_levels_run_out():
    key, peer = parties(PLAIN)
    c = peer.from_bytes(key.encrypt(rows(PLAIN)))
    lowest = peer.times(peer.times(c, 1.0), 1.0)
    assert lowest.level == 0
    with pytest.raises(Misuse, match="levels"):
        peer.times(lowest, 1.0)
    with pytest.raises(Misuse, match="products=True"):
        peer.multiply(c, c)
    with pytest.raises(Misuse, match="sums=True"):
        peer.sum(c)
    key, peer = parties(FULL)
    c = peer.from_bytes(key.encrypt(rows(FULL)))
    low = peer.lower(peer.lower(peer.lower(c)))
    with pytest.raises(Misuse, match="takes 2 levels and 1"):
        peer.multiply(low, low)


def test_operands_of_other_levels_sizes_or_forms_are_refused():
    key, peer = parties(FULL)
    c = peer.from_bytes(key.encrypt(rows(FULL)))
    with pytest.raises(Misuse, match="levels 4 and 3"):
        peer.add(c, peer.lower(c))
    with pytest.raises(Misuse, match="rows"):
        peer.add(c, peer.from_bytes(key.encrypt(rows(FULL, 3))))
    with pytest.raises(Misuse, match="sums or not"):
        peer.subtract(c, peer.sum(c))
    with pytest.raises(Misuse, match="not sums yet"):
        peer.sum(peer.sum(c))
    other = FULL.peer(FULL.key().public)
    with pytest.raises(Misuse, match="another key"):
        other.add(c, c)


@pytest.mark.parametrize(
    "numbers",
    [np.ones(99), np.ones((3, 100)), np.full(100, np.nan), np.inf, 2.0**17, np.ones((1, 1, 100)), "many", None],
)
def test_plain_numbers_that_do_not_fit_are_refused(numbers):
    key, peer = parties(PLAIN)
    c = peer.from_bytes(key.encrypt(rows(PLAIN)))
    for step in (peer.add, peer.subtract, peer.times):
        with pytest.raises(Misuse):
            step(c, numbers)


def test_magnitudes_are_tracked():
    key, peer = parties(PLAIN)
    c = peer.from_bytes(key.encrypt(rows(PLAIN)))
    assert c.bound == 16
    assert peer.add(peer.times(c, -2.0), 3.0).bound == 35
    with pytest.raises(Misuse, match="could reach"):
        peer.times(c, 2.0**13)
    with pytest.raises(Misuse, match="could reach"):
        peer.add(c, 2.0**16)
    for bad in (np.full(100, 16.1), np.full(100, np.nan), np.full(100, -np.inf)):
        with pytest.raises(Misuse, match="exceeds"):
            key.encrypt(bad)
    for shape in ((99,), (0, 100), (1, 1, 100), ()):
        with pytest.raises(Misuse, match="shape"):
            key.encrypt(np.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": 3}, "128-bit security allows 218"),
        ({"levels": 8, "degree": 16384}, "128-bit security allows 438"),
        ({"levels": 2, "products": True}, "128-bit security"),
        ({"degree": 4096}, "degree"),
        ({"degree": 32768}, "degree"),
        ({"values": 4097}, "values"),
        ({"values": 0}, "values"),
        ({"scale_bits": 85}, "even"),
        ({"scale_bits": 58}, "even"),
        ({"scale_bits": 102}, "even"),
        ({"bits": 17}, "bits"),
        ({"scale_bits": 100, "sum_bits": 20}, "118"),
        ({"levels": -1}, "levels"),
        ({"error": 0.0}, "error"),
        ({"error": math.nan}, "error"),
        ({"error": 1e9}, "error"),
        ({"error": 1e-300}, "error"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(Misuse, match=message):
        Ckks(**changes)


@pytest.mark.parametrize("scheme", [PLAIN, FULL, SMALL])
def test_the_modulus_is_within_the_table_and_as_planned(scheme):
    total = math.prod(scheme.context.key_primes).bit_length()
    assert total <= sum(scheme.prime_bits) <= SECURE[scheme.degree]
    from tenseal import sealapi

    assert SECURE[scheme.degree] == sealapi.CoeffModulus.MaxBitCount(scheme.degree, sealapi.SEC_LEVEL_TYPE.TC128)
