"""Networks in their loop, as a filter runs them, and small artifacts to run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamproc.artifact import Artifact
from streamproc.filters.kalmannet import KalmanNet
from streamproc.filters.kalmannet_engine import Net
from streamproc.filters.kalmannet_plan import Network, Scales
from streamproc.frame import Array
from streamproc.schema import plain
from streamproc.statespace import StateSpace, model
from streamproc.statespace.compiled import flow, look

TINY = Path(__file__).parents[1] / "artifacts" / "tiny"


def network_of(artifact: Artifact) -> Network:
    scales = Scales(**plain(artifact.card.scales))
    return Network(artifact.weights(), scales, artifact.card.network.position)


def random_step(rng: np.random.Generator, net: Net) -> list[Array]:
    """Arguments of `Net.step`; a tenth of the components is not seen."""
    sizes = (net.m, net.m, net.n, net.n, net.m, net.n)
    given = [rng.normal(size=(net.tracks, size)) for size in sizes]
    given[4] = np.float64(rng.random((net.tracks, net.m)) > 0.1)
    given[0] *= given[4]
    given[1] *= given[4]
    return given


def filter_of(artifact: Artifact, net: Net) -> KalmanNet:
    """The whole filter of an artifact, with a network that runs it."""
    card = artifact.card
    believed = model(card.model.name, **card.model.params)
    return KalmanNet(
        believed.with_noise(np.array(card.Q), np.array(card.R)),
        net,
        net.tracks,
        nis_scale=card.nis_scale,
        base=card.network.base,
    )


def scene(system: StateSpace, tracks: int, steps: int, seed: int) -> Array:
    """What is seen (steps, tracks, m) of tracks that move as the model says."""
    rng = np.random.default_rng(seed)
    push, blur = (
        np.linalg.cholesky(c + 1e-12 * np.eye(len(c))) for c in (system.Q, system.R)
    )
    spread = np.minimum(np.sqrt(np.diag(system.P0)), 5.0)
    x = system.x0 + rng.normal(size=(tracks, system.n)) * spread
    rows = []
    for _ in range(steps):
        x = flow(system, x, system.step_s)[0] + rng.normal(size=x.shape) @ push.T
        y = look(system, x)[0]
        rows.append(y + rng.normal(size=y.shape) @ blur.T)
    return np.array(rows)


def follow(filter_: KalmanNet, rows: Array) -> tuple[Array, Array]:
    """x (steps, tracks, n) and P of a filter that lives on its own estimates."""
    filter_.start(slice(None), rows[0])
    made = [filter_.step(y, filter_.model.step_s) for y in rows[1:]]
    return np.array([one.x for one in made]), np.array([one.P for one in made])
