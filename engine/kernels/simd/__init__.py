"""Kernels for eight numbers at a time: AVX-512 with IFMA, written in Numba over one vector type."""
