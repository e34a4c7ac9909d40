"""From a recipe to an artifact: images, training, a scored card."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from streamproc.artifact import Artifact, Session, write_artifact
from streamproc.card import ClutterCard, NmseRow, PortRow, TrainingTable
from streamproc.errors import ConfigError
from streamproc.frame import Array
from streamproc.models.clutter import judge
from streamproc.models.clutter.data import Source
from streamproc.models.clutter.export import export
from streamproc.models.clutter.network import Corona, Live, LiveConfig, NetworkConfig
from streamproc.models.clutter.recipe import ClutterRecipe
from streamproc.models.clutter.train import (
    Told,
    live_network,
    on_moments,
    on_windows,
    train,
    window_network,
)
from streamproc.models.clutter.weights import load
from streamproc.models.clutter.windows import NOISE_TILE
from streamproc.models.shelf import UNHASHED, version


class Made(NamedTuple):
    """Networks of one seed.

    history: of the losses, for whole windows and live, see `draw_history`.
    steps: taken by both.  minutes: of one core, with the drawing of images.
    """

    seed: int
    network: Corona
    live: Live
    history: tuple[Array, Array]
    steps: int
    minutes: float


class Begun(NamedTuple):
    """A recipe, its images, and where training begins: from scratch without a base."""

    recipe: ClutterRecipe
    config: NetworkConfig
    live: LiveConfig
    source: Source
    base: tuple[Corona, Live] | None


def begin(recipe: ClutterRecipe, base: str | Path | None = None) -> Begun:
    """base: an artifact whose weights it goes on from.

    ConfigError for a recording that does not fit, or a recipe of another network.
    """
    config, live = recipe.network or NetworkConfig(), recipe.live or LiveConfig()
    networks = None
    if base is not None:
        artifact = Artifact.load(base, ClutterCard)
        networks = load(artifact.model, f"{artifact.folder}/model.onnx")
        config, live = networks[0].config, networks[1].config
        for key, own, given in (
            ("network", recipe.network, config),
            ("live", recipe.live, live),
        ):
            if own not in (None, given):
                raise ConfigError(
                    f"{key}: expected that of {base}, {given}, got another one in the "
                    "recipe; leave it out there"
                )
    return Begun(recipe, config, live, Source(recipe, config.window), networks)


def make(begun: Begun, seeds: Sequence[int], told: Told | None = None) -> list[Made]:
    """Networks for every seed."""
    return [_made(begun, seed, told) for seed in seeds]


def _made(begun: Begun, seed: int, told: Told | None) -> Made:
    recipe, config, live_config, source, base = begun
    start = time.process_time()  # others may be at work on the machine
    if base is None:
        network = window_network(config, seed)
        live = live_network(live_config, seed)
    else:  # of which training changes a copy
        network, live = copy.deepcopy(base)
    schedule = recipe.schedule(base is not None)
    lessons = source.lessons(seed, schedule.batch, told)
    done = train(network, schedule, on_windows(lessons), seed, told)
    del lessons  # which holds all the images
    schedule = recipe.live_schedule(base is not None)
    given = source.moments(seed, recipe.follower, network, live.config.recent, told)
    last = train(live, schedule, on_moments(given, schedule.batch), seed, told)
    return Made(
        seed=seed,
        network=network,
        live=live,
        history=(done.history, last.history),
        steps=done.steps + last.steps,
        minutes=(time.process_time() - start) / 60,
    )


def score(
    begun: Begun, made: Sequence[Made], told: Told | None = None
) -> list[NmseRow]:
    """On windows that no training saw, beside filters that nobody trained."""
    recipe, source, rank = begun.recipe, begun.source, begun.config.rank
    networks = [one.network for one in made]
    rows = judge.score(recipe, networks, source.unseen(rank), told)
    lives = [one.live for one in made]
    streams = source.unseen_streams(rank)
    return [*rows, *judge.score_live(recipe, lives, streams, told)]


def shelve(
    begun: Begun, one: Made, rows: Sequence[NmseRow], command: str, folder: Path
) -> Path:
    """Write one seed's artifact."""
    rank = begun.recipe.followed_by.rank
    graph = export(one.network, one.live, rank)
    write_artifact(folder, _card(begun, one, rows, command, graph), graph)
    return folder


def _card(
    begun: Begun, one: Made, rows: Sequence[NmseRow], command: str, graph: bytes
) -> ClutterCard:
    recipe, config, live, source, _ = begun
    ports = Session(graph, "the trained network")
    limit, mean, std = judge.watch(one.network, *source.usual())
    return ClutterCard(
        name=recipe.name,
        package=version(),
        sha256=UNHASHED,
        known_failures=recipe.failures,
        window=config.window,
        rank=config.rank,
        layers=config.layers,
        recent=live.recent,
        live_layers=live.layers,
        memory=recipe.followed_by,
        tile=NOISE_TILE,
        guard_limit=limit,
        guard_mean=mean,
        guard_std=std,
        inputs=_rows(ports.inputs),
        outputs=_rows(ports.outputs),
        training=TrainingTable(
            recipe=recipe.name,
            seed=one.seed,
            split="train",
            command=command,
            minutes=round(one.minutes, 2),
            iterations=one.steps,
        ),
        metrics=tuple(rows),
    )


def _rows(ports: dict[str, tuple[int, ...]]) -> tuple[PortRow, ...]:
    return tuple(PortRow(name=name, shape=shape) for name, shape in ports.items())
