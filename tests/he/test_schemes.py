"""What every scheme must do, run for each of them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from engine import he
from engine.errors import Misuse
from engine.he.scheme import SLOTS

ROWS, COLUMNS = (1, 7, 8192, 8193, 20000), (1, 2, 13, 33)


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("rows", ROWS)
def test_shares_add_up_to_the_products(scheme, ring, features, exact, rows, columns):
    x, at = features(rows, columns), scheme.layout(rows, columns)
    key, matrix = scheme.key(), scheme.matrix(x, at)
    peer, weights, values = scheme.peer(key.public), ring.random(columns), ring.random(rows)

    answer, own = matrix.times_weights(peer, key.encrypt_weights(weights, at))
    assert np.array_equal(ring.add(key.decrypt_rows(answer, at), own), exact(x, weights))

    answer, own = matrix.times_rows(peer, key.encrypt_rows(values, at))
    assert np.array_equal(ring.add(key.decrypt_weights(answer, at), own), exact(x.T, values))


@pytest.mark.parametrize("count", ROWS)
def test_shares_add_up_to_the_combination_of_slots(scheme, ring, count):
    key = scheme.key()
    vectors, factors = [ring.random(count) for _ in range(3)], [ring.random(count) for _ in range(3)]
    vectors[0][:, 0] = factors[0][:, 0] = np.array(ring.primes) - 1
    factors[2][:] = 0
    terms = [(key.encrypt_slots(v), f) for v, f in zip(vectors, factors, strict=True)]
    answer, own = scheme.peer(key.public).combine_slots(terms)
    products = sum(v.astype(object) * f.astype(object) for v, f in zip(vectors, factors, strict=True))
    assert np.array_equal(ring.add(key.decrypt_slots(answer, count), own), products % np.array([ring.primes]).T)


def test_products_that_are_zero_look_like_others(scheme, ring, assert_uniform):
    at, key = scheme.layout(8192, 2), scheme.key()
    matrix = scheme.matrix(np.zeros((8192, 2), dtype=np.int16), at)
    answer, own = matrix.times_weights(scheme.peer(key.public), key.encrypt_weights(ring.random(2), at))
    theirs = key.decrypt_rows(answer, at)
    assert not ring.add(theirs, own).any()
    for share in (theirs, own):
        assert_uniform(share[0], ring.primes[0])


def test_each_answer_is_masked_afresh(scheme, ring, features):
    at, key = scheme.layout(7, 2), scheme.key()
    matrix, peer, asked = (
        scheme.matrix(features(7, 2), at),
        scheme.peer(key.public),
        key.encrypt_rows(ring.random(7), at),
    )
    (first, own), (second, other) = matrix.times_rows(peer, asked), matrix.times_rows(peer, asked)
    assert not np.array_equal(first, second)
    assert not np.array_equal(own, other)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (8193, 2), (20000, 33)])
def test_costs_are_the_formulas_of_the_readme(scheme, ring, features, rows, columns):
    at, key = scheme.layout(rows, columns), scheme.key()
    matrix, peer = scheme.matrix(features(rows, columns), at), scheme.peer(key.public)
    r, c, b, k = at.row_tiles, at.column_tiles, -(-rows // SLOTS), 2

    def cost(step):
        before = dict(vars(scheme.counts))
        step()
        return [count - before[name] for name, count in vars(scheme.counts).items()]

    def forward():
        asked = key.encrypt_weights(ring.random(columns), at)
        key.decrypt_rows(matrix.times_weights(peer, asked)[0], at)

    def backward():
        asked = key.encrypt_rows(ring.random(rows), at)
        key.decrypt_weights(matrix.times_rows(peer, asked)[0], at)

    def slots():
        terms = [(key.encrypt_slots(ring.random(rows)), ring.random(rows)) for _ in range(k)]
        key.decrypt_slots(peer.combine_slots(terms)[0], rows)

    assert list(vars(scheme.counts)) == ["encryptions", "products", "outputs", "decryptions"]
    assert cost(forward) == [2 * c, 2 * r * c, 2 * r, 2 * r]
    assert cost(backward) == [2 * r, 2 * r * c, 2 * c, 2 * c]
    assert cost(slots) == [2 * k * b, 2 * k * b, 2 * b, 2 * b]


def test_vectors_of_another_size_are_refused(scheme, ring, features):
    at, key = scheme.layout(7, 2), scheme.key()
    matrix, peer = scheme.matrix(features(7, 2), at), scheme.peer(key.public)
    wider = scheme.layout(8193, 3)
    with pytest.raises(ValueError, match="another number or size"):
        matrix.times_weights(peer, key.encrypt_weights(ring.random(3), wider))
    with pytest.raises(ValueError, match="another number or size"):
        key.decrypt_rows(matrix.times_rows(peer, key.encrypt_rows(ring.random(7), at))[0][:1], at)
    with pytest.raises(ValueError, match=r"size|scheme"):
        scheme.peer(key.public[:-1])


def test_mistakes_of_this_side_are_misuse(scheme, features):
    with pytest.raises(Misuse, match="without rows or columns"):
        scheme.layout(0, 3)
    with pytest.raises(Misuse, match="layout's shape"):
        scheme.matrix(features(7, 2), scheme.layout(2, 7))
    for fractions in (np.full((7, 2), 0.5), np.full((7, 2), np.nan), np.full((7, 2), 1, dtype=object)):
        with pytest.raises(Misuse, match="be integers"):
            scheme.matrix(fractions, scheme.layout(7, 2))
    with pytest.raises(Misuse, match="at least one term"):
        scheme.peer(scheme.key().public).combine_slots([])
    with pytest.raises(Misuse, match="rlwe, rlwe-native, clear"):
        he.scheme("paillier-64")


def test_only_clear_encrypts_nothing_and_it_says_so():
    assert [(name, he.scheme(name).networked, he.scheme(name).security_bits) for name in he.SCHEMES] == [
        ("rlwe", True, 128),
        ("rlwe-native", True, 128),
        ("clear", False, 0),
    ]


def test_the_interface_loads_without_the_libraries_behind_it():
    code = "import sys, engine.he.scheme; from engine import he; he.scheme('clear').key(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"tenseal", "numba", "pyarrow"} & set(loaded)
