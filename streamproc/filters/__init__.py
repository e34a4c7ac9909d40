"""Filters of state-space models, compiled: many tracks, one step at a time."""

from streamproc.filters.ekf import Ekf, Kf
from streamproc.filters.filter import Estimate, Filter
from streamproc.filters.imm import Imm
from streamproc.filters.particle import Particle
from streamproc.filters.ukf import Ukf

__all__ = ["Ekf", "Estimate", "Filter", "Imm", "Kf", "Particle", "Ukf"]
