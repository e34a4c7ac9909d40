"""The particle filter node."""

from __future__ import annotations

import numpy as np

from streamproc.nodes.kf import Kf
from streamproc.nodes.particle import Particle, ParticleConfig
from streamproc.nodes.tracking import TrackerConfig
from streamproc.testing import check_node, frames_of

from .seen import scene, stacked, track

NEAR = {"position_std": 5.0, "velocity_std": 2.0}


def node(particles: int = 300, seed: int = 0) -> Particle:
    config = ParticleConfig(
        model="constant_velocity", params=NEAR, particles=particles, seed=seed
    )
    return Particle(config)


def test_it_keeps_the_contract_though_it_rolls_dice() -> None:
    seen, _ = scene(frames=30, tracks=2, **NEAR)
    check_node(node, {"observation": frames_of(seen)}, frames=30)


def test_other_seeds_are_other_dice() -> None:
    seen, _ = scene(frames=5, **NEAR)
    one, other = (stacked(track(node(seed=seed), seen)) for seed in (0, 1))
    assert (one != other).any()


def test_with_many_particles_it_is_the_kalman_filter() -> None:
    seen, _ = scene(frames=60, **NEAR)
    exact = track(Kf(TrackerConfig(model="constant_velocity", params=NEAR)), seen)
    wanted, P = stacked(exact), stacked(exact, "P")
    got = stacked(track(node(particles=20_000), seen))
    deviation = np.sqrt(np.diagonal(P, axis1=1, axis2=2))
    # each of 20 000 counts, and what one step gets wrong lasts some ten of them
    error = (got - wanted) / deviation
    assert np.mean(error**2) ** 0.5 < 5 * (10 / 20_000) ** 0.5
