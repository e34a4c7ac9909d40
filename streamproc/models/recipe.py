"""Recipes: everything that a training run depends on, in one file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from streamproc.errors import ConfigError
from streamproc.models.network import NetworkConfig
from streamproc.models.recipe_file import load_from, names_in, parse
from streamproc.schema import Above, Like, Max, Min
from streamproc.sims.lorenz import LorenzConfig
from streamproc.sims.statespace import StateSpaceConfig
from streamproc.statespace import Params, StateSpace
from streamproc.statespace import model as statespace

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What the filter believes.

    name: a state-space model's name, or module:object for one of your own.
    params: of the model.
    tune: replace Q by the multiple of I with which an extended Kalman filter does best
    on the training set; without it, or without a truth, the model's own Q stays.
    Q: covariance of the process noise of one step, instead of the model's, as rows, as
    `streamproc train kalman` prints them.
    R: covariance of the observation noise, likewise.
    """

    name: str
    params: Params = field(default_factory=dict)
    tune: bool = True
    Q: Rows | None = None
    R: Rows | None = None

    def made(self) -> StateSpace:
        """The model, before any tuning. GraphError or ConfigError if it cannot be."""
        found = statespace(self.name, **self.params)
        told: Any = self.Q, self.R  # it says itself what is wrong with them
        return found if told == (None, None) else found.with_noise(*told)


@dataclass(frozen=True, slots=True, kw_only=True)
class LorenzData:
    """Trajectories of scene.lorenz.

    scene: its kind.
    config: its keys, without seed and split.
    """

    scene: Literal["scene.lorenz"]
    config: LorenzConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSpaceData:
    """Trajectories of scene.statespace.

    scene: its kind.
    config: its keys, without seed and split.
    """

    scene: Literal["scene.statespace"]
    config: StateSpaceConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedData:
    """Recorded frames: 70 % to train on, then 15 % to validate, the last 15 % unseen.

    observation: file of observations (component) or (track, component), as file.source
    reads it; NaN is not seen.
    truth: file of the true states, frame by frame; without it the objective must be
    "innovation".
    unseen_observation: file of another run, to be judged on; then 80 % of this one are
    to train on and 20 % to validate.
    unseen_truth: file of its true states.
    """

    observation: str
    truth: str | None = None
    unseen_observation: str | None = None
    unseen_truth: str | None = None


Data = LorenzData | StateSpaceData | RecordedData


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How long, how fast, on what.

    objective: supervised, squared error and likelihood of the truth; innovation,
    squared innovations and their likelihood, for those who have no truth.
    iterations: of the optimiser.
    trajectories: in the training set.
    length: of each, in steps.
    batch: chunks per iteration and seed.
    chunk: steps per chunk.
    settle: steps run before a chunk, of which the network learns nothing but what it
    then meets: errors that build up slowly, as those of a fix that is off for minutes.
    short_chunk: steps per chunk at first, while the network would still diverge.
    short_share: share of the iterations with short chunks.
    rate: highest learning rate of the one-cycle schedule.
    clip: norm of the gradient above which it is scaled down, per seed.
    cold: share of chunks that begin at their first observation, as a filter in service
    does; the others begin as far from the truth as a filter that has settled.
    gaps: share of chunks in which frames are missing, up to three in ten.
    spread: of the noise: in half of the chunks its deviation is multiplied by a
    factor between 1 and this.
    nll: weight of the covariance's likelihood beside the squared error.
    components: of the state, whose squared error counts; without them, all.
    evaluate_every: iterations between two evaluations; the best one is kept.
    patience: evaluations without a new best, in any seed, before it stops early.
    """

    objective: Literal["supervised", "innovation"] = "supervised"
    iterations: Annotated[int, Min(1)] = 1000
    trajectories: Annotated[int, Min(1)] = 200
    length: Annotated[int, Min(2)] = 600
    batch: Annotated[int, Min(1)] = 32
    chunk: Annotated[int, Min(2)] = 100
    settle: Annotated[int, Min(0)] = 0
    short_chunk: Annotated[int, Min(2)] = 20
    short_share: Annotated[float, Min(0), Max(1)] = 0.15
    rate: Annotated[float, Above(0)] = 2e-3
    clip: Annotated[float, Above(0)] = 1.0
    cold: Annotated[float, Min(0), Max(1)] = 0.25
    gaps: Annotated[float, Min(0), Max(1)] = 0.1
    spread: Annotated[float, Min(1)] = 1.0
    nll: Annotated[float, Min(0)] = 0.1
    components: tuple[Annotated[int, Min(0)], ...] = ()
    evaluate_every: Annotated[int, Min(1)] = 50
    patience: Annotated[int, Min(1)] = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One artifact, from data to card.

    name: of the artifact.
    what: one line for its card.
    model: what the filter believes.
    data: what it learns from.
    network: which one.
    training: how.
    failures: what it is known not to do.
    """

    name: Annotated[str, Like(r"[a-z0-9][a-z0-9_.-]*", "a lower-case name")]
    what: str = ""
    model: ModelConfig
    data: Data
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    failures: tuple[str, ...] = ()


def recipes() -> list[str]:
    """Names of the recipes that come with streamproc."""
    return names_in("streamproc.models")


def load_recipe(name_or_path: str) -> Recipe:
    """A recipe by its name, or from a TOML file.

    GraphError for a name that is none, ArtifactError for a file that does not fit.
    """
    return load_from("streamproc.models", Recipe, name_or_path)


def read_recipe(text: str, place: str) -> Recipe:
    """A recipe from TOML text. ArtifactError, with place and key, if it is none."""
    return parse(Recipe, text, place)


def chosen(
    recipe: str | None, model: str | None, observation: str | None, truth: str | None
) -> Recipe:
    """A recipe by name; or one for a model, on its own scene or on recorded frames.

    ConfigError for words that do not go together.
    """
    if (recipe is None) == (model is None):
        raise ConfigError("train: expected one of --recipe and --model")
    if truth is not None and observation is None:
        raise ConfigError("train: --truth: expected --observation with it")
    made = load_recipe(recipe) if recipe is not None else _for_model(str(model))
    if observation is None:
        return made
    data = RecordedData(observation=observation, truth=truth)
    objective: Literal["supervised", "innovation"] = "supervised"
    if truth is None:
        objective = "innovation"
    training = replace(made.training, objective=objective)
    return replace(made, data=data, training=training)


def _for_model(name: str) -> Recipe:
    """On the scene that the model itself is, with the noise it believes in."""
    scene = StateSpaceConfig(model=name)
    short = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-") or "model"
    return Recipe(
        name=short,
        model=ModelConfig(name=name, tune=False),
        data=StateSpaceData(scene="scene.statespace", config=scene),
        network=NetworkConfig(out_mult=10, base="ekf"),
        training=TrainingConfig(rate=1e-3),
    )


def shortened(recipe: Recipe, iterations: int | None) -> Recipe:
    """The recipe with another number of iterations, if one is given."""
    if iterations is None:
        return recipe
    if iterations < 1:
        raise ConfigError(f"train: --iterations: expected at least 1, got {iterations}")
    return replace(recipe, training=replace(recipe.training, iterations=iterations))
