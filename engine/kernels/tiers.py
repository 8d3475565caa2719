"""Which implementation of a kernel runs here.

Every kernel exists up to three times under one name: `reference` (Python integers: the definition), `portable` (scalar
Numba, any CPU) and `simd` (eight lanes, AVX-512 IFMA). The kernel `ring.scale` is the function `scale` of the module
`ring` in the folder of its tier. The CPU decides which tier runs, or `ENGINE_KERNELS` does. A kernel that lacks a
version there runs in the next lower tier that it has. Nothing of Numba is imported before the first kernel that needs
it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import cache
from time import perf_counter
from typing import Any

from engine.errors import Misuse

TIERS = ("reference", "portable", "simd")
FEATURES = ("avx512f", "avx512dq", "avx512ifma", "vaes")

KERNELS: dict[str, tuple[str, ...]] = {
    "ring.scale": ("reference", "portable"),
    "ring.truncate": ("reference", "portable"),
    "ring.phase": ("reference", "portable"),
    "ring.integers": ("reference", "portable"),
    "ring.fold": ("reference", "portable"),
    "ring.product": ("reference", "portable"),
    "masks.add": TIERS,
    "masks.quantise": ("reference", "portable"),
    "masks.quantise_by_draw": ("reference", "portable"),
    "masks.pack": ("reference", "portable"),
    "masks.unpack": ("reference", "portable"),
    "sums.histogram": ("reference", "portable"),
    "sums.segments": ("reference", "portable"),
    "ntt.forward": TIERS,
    "ntt.inverse": TIERS,
    "ntt.add_products": TIERS,
    "bfv.scale": ("reference", "portable"),
    "bfv.divide": ("reference", "portable"),
    "bfv.lift": ("reference", "portable"),
    "bfv.ternary": ("reference", "portable"),
    "bfv.add": ("reference", "portable"),
    "bfv.add_noise": ("reference", "portable"),
    "group.expand": ("reference", "simd"),
    "group.map": TIERS,
    "group.map_multiply": TIERS,
    "group.multiply": TIERS,
    "group.multiply_each": TIERS,
    "group.multiply_base": TIERS,
    "group.check": TIERS,
    "group.add": TIERS,
    "group.sums": TIERS,
    "points.decode": TIERS,
    "points.encode": TIERS,
    "points.sums": TIERS,
    "points.comb_encode": TIERS,
    "points.comb_add": TIERS,
    "points.unmask": TIERS,
    "points.times": TIERS,
    "points.labels": TIERS,
    "points.enter": ("reference", "portable"),
    "points.find": ("reference", "portable"),
    "montgomery.multiply": TIERS,
    "montgomery.squares": TIERS,
    "montgomery.add": TIERS,
    "montgomery.powers": TIERS,
    "montgomery.fixed_powers": TIERS,
    "montgomery.products": TIERS,
    "montgomery.join": TIERS,
}


def tier() -> str:
    """Return the tier of this process: the one that `ENGINE_KERNELS` names, else the best that the CPU has.

    Raises Misuse for a name that is no tier, and for `simd` on a CPU without AVX-512 IFMA.
    """
    forced = os.environ.get("ENGINE_KERNELS", "")
    if not forced:
        return "simd" if has_simd() else "portable"
    if forced not in TIERS:
        raise Misuse(f"ENGINE_KERNELS names no tier of kernels; use one of {', '.join(TIERS)}, or unset it.")
    if forced == "simd" and not has_simd():
        raise Misuse("ENGINE_KERNELS asks for simd, but this CPU lacks AVX-512 IFMA; use portable, or unset it.")
    return forced


@cache
def has_simd() -> bool:
    """Say whether this CPU has the instructions that the `simd` tier is written in."""
    from llvmlite import binding

    present = binding.get_host_cpu_features()
    return all(present.get(feature, False) for feature in FEATURES)


def kernel(name: str) -> Callable[..., Any]:
    """Return the implementation of the named kernel for the tier of this process, compiled and ready to call."""
    allowed = TIERS[: TIERS.index(tier()) + 1]
    return _load(name, [tier for tier in KERNELS[name] if tier in allowed][-1])


@cache
def _load(name: str, tier: str) -> Callable[..., Any]:
    module, function = name.split(".")
    implementation = getattr(importlib.import_module(f"engine.kernels.{tier}.{module}"), function)
    if hasattr(implementation, "signatures"):
        from engine.kernels import jit

        jit.compile_ahead(implementation)
    return implementation  # type: ignore[no-any-return]


def warmup(report: Callable[[str], None] = lambda line: None) -> None:
    """Compile every kernel of this process' tier, so that no protocol waits for a compiler; later runs read the cache.

    `report` is given a line after each kernel. Raises Misuse where `ENGINE_KERNELS` names no tier of this machine.
    """
    for done, name in enumerate(KERNELS, start=1):
        start = perf_counter()
        kernel(name)
        report(f"{done} of {len(KERNELS)}: {name} ready after {perf_counter() - start:.1f} s")
