"""The layers of an unfolded clutter filter, compiled for this processor."""
