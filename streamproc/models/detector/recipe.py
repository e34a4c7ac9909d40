"""Recipes of detectors: everything that a training run depends on, in one file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from streamproc.detection.centres import Base
from streamproc.detection.fit import FitConfig
from streamproc.errors import ConfigError
from streamproc.models.detector.export import Head
from streamproc.models.detector.network import NetworkConfig
from streamproc.models.detector.train import BETTER, ON_A_BASE, TrainingConfig
from streamproc.models.recipe_file import load_from, names_in
from streamproc.modulation import Modulation
from streamproc.schema import Like, Max, Min, build
from streamproc.sims.isi import IsiConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneData:
    """Known symbols of scene.isi.

    scene: its kind.
    config: its keys, without seed and split.
    """

    scene: Literal["scene.isi"]
    config: IsiConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedData:
    """Recorded samples and the symbols that were sent; the last fifth is for the card.

    observation: file of samples, real or complex, as file.source reads it.
    truth: file of symbol indices, sample by sample; -1 where not known.
    constellation: of the symbols.
    memory: taps of the channel.
    """

    observation: str
    truth: str
    constellation: Modulation
    memory: Annotated[int, Min(1), Max(6)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorRecipe:
    """One artifact, from known symbols to card.

    name: of the artifact.
    what: one line for its card.
    data: what it learns from.
    labels: known symbols.
    head: mixture, noise around class means; poisson, counts; dnn, a classifier of
    samples; residual, a classifier added to the mixture.
    base: taps, class means tied to the taps of a channel; means, each its own; blend,
    drawn to the taps' as far as the labels bear out.
    components: of the mixture; without it, as many as the labels can tell apart.
    network: of dnn and residual.
    training: of dnn and residual; without it, what is best for them.
    failures: what it is known not to do.
    """

    name: Annotated[str, Like(r"[a-z0-9][a-z0-9_.-]*", "a lower-case name")]
    what: str = ""
    data: SceneData | RecordedData
    labels: Annotated[int, Min(50)] = 5000
    head: Head = "mixture"
    base: Base = "blend"
    components: Annotated[int, Min(1), Max(4)] | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig | None = None
    failures: tuple[str, ...] = ()

    @property
    def fit(self) -> FitConfig:
        """What is fitted below the head."""
        noise: Literal["poisson", "mixture"] = "mixture"
        if self.head == "poisson":
            noise = "poisson"
        return FitConfig(noise=noise, base=self.base, components=self.components)

    @property
    def schedule(self) -> TrainingConfig | None:
        """Of the classifier, if the head has one."""
        if self.head in ("mixture", "poisson"):
            return None
        return self.training or (BETTER if self.head == "dnn" else ON_A_BASE)


def detector_recipes() -> list[str]:
    """Names of those that come along."""
    return names_in("streamproc.models.detector")


def load_detector_recipe(name_or_path: str) -> DetectorRecipe:
    """A recipe by its name, or from a TOML file.

    GraphError for a name that is none, ArtifactError for a file that does not fit.
    """
    return load_from("streamproc.models.detector", DetectorRecipe, name_or_path)


def recorded_recipe(table: dict[str, Any], head: Head) -> DetectorRecipe:
    """For recorded samples, by the keys of RecordedData.

    ConfigError for a key that does not fit, or a head that such samples cannot have.
    """
    data = build(RecordedData, table)
    if head == "poisson" and data.constellation != "ook":
        raise ConfigError(
            f"head: poisson counts light switched on and off, got "
            f"{data.constellation!r}; use ook, or head = mixture"
        )
    name = f"{data.constellation}-{data.memory}-{head}"
    return DetectorRecipe(name=name, data=data, head=head)
