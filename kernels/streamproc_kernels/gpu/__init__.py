"""CUDA sources, their host code, and the three ways to try them.

A `.cu` file is launched by CuPy on a device (`cuda`), by g++ on NumPy arrays
(`emulate`), and compiled by NVRTC for any architecture (`nvrtc`).
"""
