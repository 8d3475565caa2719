"""Kernels: the arithmetic under the protocols, on arrays, in three tiers with identical results."""

from engine.kernels.tiers import KERNELS, tier, warmup

__all__ = ["KERNELS", "tier", "warmup"]
