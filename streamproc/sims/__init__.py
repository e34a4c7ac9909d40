"""Scenes: frames with their truth, seeded. They know no kernel that they judge."""
