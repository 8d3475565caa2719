"""Which tier runs, when its kernels are compiled, and where the compiled code is kept."""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core import caching, types

from engine.errors import Misuse
from engine.kernels import KERNELS, jit, tiers, warmup


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
    lines: list[str] = []
    warmup(lines.append)
    assert [line.split()[3] for line in lines] == list(KERNELS)
    assert all(line.startswith(f"{i} of {len(KERNELS)}: ") for i, line in enumerate(lines, start=1))


def test_the_reference_tier_imports_no_compiler() -> None:
    code = "import sys, engine.kernels as k; k.warmup(); assert not {'numba', 'llvmlite'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"ENGINE_KERNELS": "reference"})


@pytest.fixture
def fresh() -> Any:
    """A kernel that nothing has compiled yet."""

    def double(x, out):  # type: ignore[no-untyped-def]
        out[0] = 2 * x

    return jit.kernel(types.int64, jit.writes(types.int64, 1))(double)


def test_a_kernel_takes_one_signature_and_says_when_it_compiles(fresh: Any, caplog: pytest.LogCaptureFixture) -> None:
    fresh._cache.load_overload = lambda *_: None
    fresh._cache.save_overload = lambda *_: None
    with caplog.at_level(logging.INFO, logger="synergos.kernels"):
        jit.compile_ahead(fresh)
    assert len(fresh.signatures) == 1
    assert [record.getMessage() for record in caplog.records if "double" in record.getMessage()]
    with pytest.raises(TypeError):
        fresh("text", None)


def test_code_is_kept_where_the_user_says_and_only_for_the_same_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from engine.kernels.tiers import kernel; print(len(kernel('ring.fold').stats.cache_hits))"
    env = {"NUMBA_CACHE_DIR": str(tmp_path), "ENGINE_KERNELS": "portable"}
    hits = [subprocess.check_output([sys.executable, "-c", code], env=env, text=True).strip() for _ in range(2)]
    assert hits == ["0", "1"]
    assert list(tmp_path.rglob("ring.fold*.nbc"))
    stamps = {jit._folder_stamp()}
    monkeypatch.setattr(jit, "__file__", str(tmp_path / "jit.py"))
    (tmp_path / "field.py").write_text("changed")
    jit._folder_stamp.cache_clear()
    stamps.add(jit._folder_stamp())
    jit._folder_stamp.cache_clear()
    assert len(stamps) == 2


def test_kernels_run_where_nothing_can_be_kept(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    jit._warn_that_nothing_is_kept.cache_clear()
    fresh = request.getfixturevalue("fresh")
    jit.compile_ahead(fresh)
    out = np.zeros(1, dtype=np.int64)
    fresh(21, out)
    assert out[0] == 42
    assert [record.getMessage() for record in caplog.records if "NUMBA_CACHE_DIR" in record.getMessage()]


def test_a_full_disk_costs_the_cache_and_nothing_else(fresh: Any, caplog: pytest.LogCaptureFixture) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    fresh._cache.load_overload = lambda *_: None
    fresh._cache.save_overload = full
    jit.compile_ahead(fresh)
    assert len(fresh.signatures) == 1
    assert "No space left on device" in caplog.text
