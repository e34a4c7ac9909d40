"""Two days of a robot, as a tracker sees them, and trackers tuned on one of them."""
