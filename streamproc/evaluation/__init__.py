"""What trackers reach on scenes they have never seen, each beside its rivals."""
