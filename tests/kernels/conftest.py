"""The tiers of kernels that this machine has."""

from __future__ import annotations

import pytest

from engine.kernels import tiers

FAST = ["portable", pytest.param("simd", marks=pytest.mark.skipif(not tiers.has_simd(), reason="no AVX-512 IFMA"))]


@pytest.fixture(params=["reference", *FAST])
def tier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test once in every tier."""
    monkeypatch.setenv("ENGINE_KERNELS", request.param)
    return str(request.param)
