"""The equations in plain NumPy: the judge of every twin."""
