"""Numba, or NumPy over BLAS where that measured faster."""
