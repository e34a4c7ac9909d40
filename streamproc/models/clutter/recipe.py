"""Recipes of clutter filters: all that a training run depends on, in one file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Literal

from streamproc.card import MemoryTable
from streamproc.clutter.incremental import IncrementalParams
from streamproc.errors import ConfigError
from streamproc.evaluation.clutter_tuned import tuned
from streamproc.models.clutter.network import LiveConfig, NetworkConfig
from streamproc.models.clutter.train import TrainingConfig
from streamproc.models.recipe_file import load_from, names_in
from streamproc.schema import Like, Max, Min
from streamproc.sims.patches import Ranges
from streamproc.sims.ultrasound import UltrasoundConfig, UltrasoundRank1Config

# of the live network, and of either from weights that are good already
LIVE = TrainingConfig(steps=1200, batch=16, most_minutes=4.0)
FURTHER = TrainingConfig(steps=300, rate=1.5e-3)
LIVE_FURTHER = TrainingConfig(steps=300, batch=16, rate=1.5e-3, most_minutes=4.0)
MOST = 10_000  # sequences of one training seed: data.SEEDS_APART
FOLLOWER = "stream-robust"  # among the tuned filters
RANK1_RANGES = Ranges(
    tissue_db=(-16.0, -5.0),
    fastest_px=(0.1, 0.5),
    decorrelation_db=(-66.0, -54.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequences:
    """Drawn ones, each with tissue and bubbles of its own.

    sequences: drawn for training, one window of each.
    streams: drawn for training the live network, several moments of each.
    stream_frames: of each of them.
    varied: share of them whose levels, speeds and point spread are drawn too, so that
    what is learned holds beside the scene.
    """

    sequences: Annotated[int, Min(1), Max(MOST)] = 1800
    streams: Annotated[int, Min(1), Max(MOST)] = 240
    stream_frames: Annotated[int, Min(31), Max(1000)] = 90
    varied: Annotated[float, Min(0), Max(1)] = 2 / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneData(Sequences):
    """Sequences of scene.ultrasound.

    scene: its kind.
    config: its keys, without seed and split.
    ranges: what is varied, and how far; never the gain, for the noise is the unit.
    """

    scene: Literal["scene.ultrasound"]
    config: UltrasoundConfig = field(default_factory=UltrasoundConfig)
    ranges: Ranges = field(default_factory=Ranges)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank1Data(Sequences):
    """Sequences of scene.ultrasound_rank1.

    scene: its kind.
    config: its keys, without seed and split.
    ranges: what is varied, and how far; never the gain, for the noise is the unit.
    """

    scene: Literal["scene.ultrasound_rank1"]
    config: UltrasoundRank1Config = field(default_factory=UltrasoundRank1Config)
    ranges: Ranges = RANK1_RANGES


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedData:
    """Recorded images: 70 % to train on, then 15 % to validate, the last 15 % unseen.

    images: file of complex images (z, x), as file.source reads it.
    size_px: side of the windows that they are cut into.
    windows: at most so many of them to train on.
    streams: at most so many pieces to train the live network on.
    stream_frames: of each of them, or as many as there are.
    """

    images: str
    size_px: Annotated[int, Min(8), Max(256)] = 32
    windows: Annotated[int, Min(1), Max(20_000)] = 1800
    streams: Annotated[int, Min(1), Max(20_000)] = 240
    stream_frames: Annotated[int, Min(31), Max(1000)] = 90


Drawn = SceneData | Rank1Data


@dataclass(frozen=True, slots=True, kw_only=True)
class ClutterRecipe:
    """One artifact, from images to card.

    name: of the artifact.
    what: one line for its card.
    data: what it learns from.
    labels: known, the bubbles of each image; none, bubbles that are laid over it.
    network: its layers for whole windows; without it, the usual ones, or those that
    it goes on from.
    live: its layers for the newest frame of a stream; without it, likewise.
    memory: of the follower that the live network is given the tissue by; without it,
    as it was tuned for the scene.
    training: how long and how fast; without it, what is best from where it begins.
    live_training: of the live network, likewise.
    failures: what it is known not to do.
    """

    name: Annotated[str, Like(r"[a-z0-9][a-z0-9_.-]*", "a lower-case name")]
    what: str = ""
    data: SceneData | Rank1Data | RecordedData
    labels: Literal["known", "none"] = "known"
    network: NetworkConfig | None = None
    live: LiveConfig | None = None
    memory: MemoryTable | None = None
    training: TrainingConfig | None = None
    live_training: TrainingConfig | None = None
    failures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.data, RecordedData) and self.labels != "none":
            raise ValueError(
                'labels: expected "none", for nobody knows the bubbles of a recording'
            )
        if not isinstance(self.data, RecordedData):
            _check_config(self.data.config)

    def schedule(self, further: bool) -> TrainingConfig:
        """further: from weights that were trained before."""
        return self.training or (FURTHER if further else TrainingConfig())

    def live_schedule(self, further: bool) -> TrainingConfig:
        """Of the live network."""
        return self.live_training or (LIVE_FURTHER if further else LIVE)

    @property
    def scene(self) -> str:
        """Whose tuned filters it is held against."""
        if isinstance(self.data, RecordedData):
            return "ultrasound"
        return self.data.scene.removeprefix("scene.")

    @property
    def followed_by(self) -> MemoryTable:
        """Its memory, or that which was tuned for the scene."""
        if self.memory is not None:
            return self.memory
        params = dict(tuned(self.scene).rivals[FOLLOWER].params)
        params.pop("gain", None)  # the network gives the amplitude
        return MemoryTable(**params)

    @property
    def follower(self) -> IncrementalParams:
        """What goes before the live network."""
        return IncrementalParams(**asdict(self.followed_by))


def _check_config(config: UltrasoundConfig) -> None:
    """ValueError where it asks for what training chooses."""
    usual = UltrasoundConfig()
    for name in ("seed", "split"):
        if getattr(config, name) != getattr(usual, name):
            raise ValueError(
                f"data.config.{name}: expected none, for training draws by its own, "
                f"got {getattr(config, name)!r}"
            )


def clutter_recipes() -> list[str]:
    """Names of those that come along."""
    return names_in("streamproc.models.clutter")


def load_clutter_recipe(name_or_path: str) -> ClutterRecipe:
    """A recipe by its name, or from a TOML file.

    GraphError for a name that is none, ArtifactError for a file that does not fit.
    """
    return load_from("streamproc.models.clutter", ClutterRecipe, name_or_path)


def recorded_recipe(images: str) -> ClutterRecipe:
    """For recorded images, label-free."""
    data = RecordedData(images=images)
    return ClutterRecipe(
        name="corona-recorded",
        what="label-free, from recorded images",
        data=data,
        labels="none",
    )


def shortened(recipe: ClutterRecipe, steps: int | None, further: bool) -> ClutterRecipe:
    """The recipe with at most so many steps of either network, if a number is given.

    ConfigError below 1.
    """
    if steps is None:
        return recipe
    if steps < 1:
        raise ConfigError(f"train: --steps: expected at least 1, got {steps}")
    training, live = recipe.schedule(further), recipe.live_schedule(further)
    return replace(
        recipe,
        training=replace(training, steps=steps),
        live_training=replace(live, steps=min(steps, live.steps)),
    )
