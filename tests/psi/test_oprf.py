"""RFC 9497 by its vectors; what a proof accepts and what it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.kernels import group
from engine.psi import oprf
from engine.psi.oprf import Suite, public_key

SUITES = json.loads((Path(__file__).parent.parent / "vectors/oprf_rfc9497.json").read_text())["suites"]
ORDER = group.ORDER


def rows(texts: str) -> NDArray[np.uint8]:
    return np.array([np.frombuffer(bytes.fromhex(text), dtype=np.uint8) for text in texts.split(",")])


def number(text: str) -> int:
    return int.from_bytes(bytes.fromhex(text), "little")


def each(inputs: str) -> list[NDArray[np.uint8]]:
    """The inputs of a batch: their lengths differ, so each is a batch of its own."""
    return [rows(text) for text in inputs.split(",")]


@pytest.mark.parametrize("suite", SUITES, ids=["OPRF", "VOPRF"])
def test_keys(suite: dict[str, Any]) -> None:
    mode = Suite(bool(suite["mode"]))
    key = mode.derive_key(bytes.fromhex(suite["seed"]), bytes.fromhex(suite["keyInfo"]))
    assert key == number(suite["skSm"])
    assert mode.group_dst.hex() == suite["groupDST"]
    if mode.verifiable:
        assert public_key(key).hex() == suite["pkSm"]
    with pytest.raises(Misuse, match="32 bytes"):
        mode.derive_key(b"short", b"")


@pytest.mark.parametrize(
    ("suite", "vector"),
    [(s, v) for s in SUITES for v in s["vectors"]],
    ids=lambda x: str(x.get("Batch", x.get("mode", ""))),
)
def test_vectors(suite: dict[str, Any], vector: dict[str, Any]) -> None:
    mode, key = Suite(bool(suite["mode"])), number(suite["skSm"])
    blinds = rows(vector["Blind"])
    inputs = each(vector["Input"])
    blinded = np.concatenate([mode.blind(x, blinds[i : i + 1]) for i, x in enumerate(inputs)])
    assert np.array_equal(blinded, rows(vector["BlindedElement"]))
    answers, valid = group.multiply(blinded, key)
    assert valid.all()
    assert np.array_equal(answers, rows(vector["EvaluationElement"]))
    for i, (x, output) in enumerate(zip(inputs, rows(vector["Output"]), strict=True)):
        found, valid = mode.unblinded(x, blinds[i : i + 1], answers[i : i + 1])
        assert valid.all()
        assert np.array_equal(found[0], output)
        assert np.array_equal(mode.evaluated(key, x)[0], output)
    if mode.verifiable:
        proof = mode.prove(key, blinded, answers, number(vector["Proof"]["r"]))
        assert proof.hex() == vector["Proof"]["proof"]
        assert mode.proves(public_key(key), blinded, answers, proof)


def test_a_batch_gives_what_its_rows_give() -> None:
    mode, key = Suite(), group.random_scalar()
    inputs = np.random.default_rng(0).integers(0, 256, (21, 16), dtype=np.uint8)
    blinds = group.random_scalars(21)
    outputs, valid = mode.unblinded(inputs, blinds, group.multiply(mode.blind(inputs, blinds), key)[0])
    assert valid.all()
    assert np.array_equal(outputs, mode.evaluated(key, inputs))
    assert not np.array_equal(outputs, Suite(True).evaluated(key, inputs))


def test_a_proof_holds_for_its_batch_and_for_no_other() -> None:
    mode, key, other = Suite(True), group.random_scalar(), group.random_scalar()
    blinded = mode.blind(np.arange(80, dtype=np.uint8).reshape(5, 16), group.random_scalars(5))
    answers, public = group.multiply(blinded, key)[0], public_key(key)
    proof = mode.prove(key, blinded, answers)
    assert mode.proves(public, blinded, answers, proof)
    assert mode.prove(key, blinded, answers) != proof
    one_wrong = answers.copy()
    one_wrong[3] = group.multiply(blinded[3:4], other)[0][0]
    spoilt = bytearray(proof)
    spoilt[40] ^= 1
    too_large = (number(proof[:32].hex()) + ORDER).to_bytes(32, "little") + proof[32:]
    assert not mode.proves(public_key(other), blinded, answers, proof)
    assert not mode.proves(public, blinded, one_wrong, proof)
    assert not mode.proves(public, blinded, one_wrong, mode.prove(key, blinded, one_wrong))
    assert not mode.proves(public, blinded[::-1], answers, proof)
    assert not mode.proves(public, blinded[:4], answers[:4], proof)
    for bad in (bytes(spoilt), too_large, proof[:-1], bytes(64), b""):
        assert not mode.proves(public, blinded, answers, bad)
    # Answers whose errors cancel in a plain sum do not cancel under the weights.
    swapped = answers[[1, 0, 2, 3, 4]]
    assert not mode.proves(public, blinded, swapped, mode.prove(key, blinded, swapped))


def test_batches_of_a_proof_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oprf, "MAX_BATCH", 3)
    nothing = np.zeros((0, 32), dtype=np.uint8)
    for batch in (nothing, np.zeros((4, 32), dtype=np.uint8)):
        with pytest.raises(Misuse, match="1 to 3 elements"):
            Suite(True).prove(5, batch, batch)
