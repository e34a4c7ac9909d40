"""Filters of state-space models: against filterpy, and what they owe their callers."""
