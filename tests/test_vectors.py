"""The vectors of `tests/vectors` are the published ones: compared where SYNERGOS_TEST_VECTORS names the originals."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.kernels import masks, tiers

ORIGINALS = os.environ.get("SYNERGOS_TEST_VECTORS")
pytestmark = pytest.mark.skipif(ORIGINALS is None, reason="SYNERGOS_TEST_VECTORS names no folder of published vectors")
OURS = Path(__file__).parent / "vectors"
TIERS = [tier for tier in tiers.TIERS if tier != "simd" or tiers.has_simd()]


def original(name: str) -> Any:
    return json.loads((Path(str(ORIGINALS)) / name).read_text())


def ours(name: str) -> Any:
    return json.loads((OURS / name).read_text())


def test_ristretto255_is_whole():
    published, kept = original("rfc/rfc9496_ristretto255.json"), ours("ristretto255_rfc9496.json")
    assert {key: value for key, value in kept.items() if key != "source"} == {
        key: published[key] for key in kept if key != "source"
    }
    assert sum(len(kind) for kind in kept["bad_encodings"].values()) >= 29
    assert len(kept["multiples_of_generator"]) == 16


def test_oprf_has_both_modes_whole():
    published = [
        suite
        for suite in original("rfc/rfc9497_oprf_allVectors.json")
        if suite["identifier"] == "ristretto255-SHA512" and suite["mode"] in (0, 1)
    ]
    assert ours("oprf_rfc9497.json")["suites"] == published


def test_expansions_are_all_there():
    published, kept = (
        original("rfc/rfc9380/expand_message_xmd_SHA512_38.json"),
        ours("expand_message_xmd_rfc9380.json"),
    )
    assert kept["DST"] == published["DST"]
    assert kept["tests"] == [{key: case[key] for key in kept["tests"][0]} for case in published["tests"]]


@pytest.mark.parametrize("tier", TIERS)
def test_masks_are_the_published_key_streams(tier, monkeypatch):
    monkeypatch.setenv("ENGINE_KERNELS", tier)
    text = (Path(str(ORIGINALS)) / "pyca/ciphers/AES/CTR/aes-256-ctr.txt").read_text()
    cases = re.findall(r"KEY = (\w+)\s+IV = (\w+)\s+PLAINTEXT = (\w+)\s+CIPHERTEXT = (\w+)", text)
    assert len(cases) == 3
    for key, start, plain, cipher in cases:
        stream = np.zeros(len(plain) // 8, dtype="<u4")
        masks.add_masks(
            stream, np.frombuffer(bytes.fromhex(key), np.uint8)[None], np.ones(1), int(start, 16), out=stream
        )
        expected = bytes(a ^ b for a, b in zip(bytes.fromhex(plain), bytes.fromhex(cipher), strict=True))
        assert stream.tobytes() == expected[: stream.nbytes]
