"""Faults for running graphs, and judges that look at nothing but sinks' records."""
