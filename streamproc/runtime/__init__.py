"""What makes a checked graph run: workers, their supervisor, checkpoints, metrics."""
