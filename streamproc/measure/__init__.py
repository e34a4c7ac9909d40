"""Latency, throughput and cost, measured: one hop, one node, one graph.

Latency counts from the moment a frame was scheduled for, not from when it was sent, so
that a source that falls behind makes no figure better. Figures are quantiles with their
n; what was lost is counted beside them.
"""
