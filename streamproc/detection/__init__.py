"""Symbols out of a channel with memory: trellis, noise, fits, and following drift."""
