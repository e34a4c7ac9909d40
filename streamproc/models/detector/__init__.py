"""Training of learned likelihoods for trellis detectors."""
