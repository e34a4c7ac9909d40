"""Clutter filters: what tells bubbles from tissue in a window of images.

A window is frames-first, (frame, z, x) c8, oldest first. Each filter gives bubbles,
which are sparse, and tissue, which is of low rank: window = tissue + bubbles + noise.
"""
