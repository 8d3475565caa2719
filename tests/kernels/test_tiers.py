"""Which tier runs, and that every fast kernel agrees with its definition at the edges."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from engine.errors import Misuse
from engine.kernels import KERNELS, tiers, warmup


def test_the_tier_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENGINE_KERNELS", raising=False)
    assert tiers.tier() == ("simd" if tiers.has_simd() else "portable")
    for name in ("reference", "portable"):
        monkeypatch.setenv("ENGINE_KERNELS", name)
        assert tiers.tier() == name
    monkeypatch.setenv("ENGINE_KERNELS", "fastest")
    with pytest.raises(Misuse, match="reference, portable, simd"):
        tiers.tier()


def test_simd_is_refused_where_the_cpu_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "has_simd", lambda: False)
    monkeypatch.delenv("ENGINE_KERNELS", raising=False)
    assert tiers.tier() == "portable"
    monkeypatch.setenv("ENGINE_KERNELS", "simd")
    with pytest.raises(Misuse, match="AVX-512"):
        tiers.tier()


def test_warmup_reports_every_kernel(tier: str) -> None:
    seen: list[tuple[str, int, int]] = []
    warmup(lambda *report: seen.append(report))
    assert seen == [(name, i, len(KERNELS)) for i, name in enumerate(KERNELS, start=1)]


def test_the_reference_tier_imports_no_compiler() -> None:
    code = "import sys, engine.kernels as k; k.warmup(); assert not {'numba', 'llvmlite'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"ENGINE_KERNELS": "reference"})


def test_a_kernel_takes_one_signature_and_says_when_it_compiles(caplog: pytest.LogCaptureFixture) -> None:
    from numba.core import types

    from engine.kernels import jit

    def double(x, out):  # type: ignore[no-untyped-def]
        out[0] = 2 * x

    dispatcher = jit.kernel(types.int64, jit.writes(types.int64, 1))(double)
    dispatcher._cache._cache_file._source_stamp = b"never written before"
    dispatcher._cache.save_overload = lambda *_: None
    with caplog.at_level(logging.INFO, logger="synergos.kernels"):
        jit.compile_ahead(dispatcher)
    assert len(dispatcher.signatures) == 1
    assert [record.getMessage() for record in caplog.records if "double" in record.getMessage()]
    with pytest.raises(TypeError):
        dispatcher("text", None)
