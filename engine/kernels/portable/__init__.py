"""Kernels in scalar Numba, for any CPU."""
