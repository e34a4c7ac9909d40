"""What a trained network says of itself: tables, and their TOML."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from streamproc.modulation import Modulation, constellation
from streamproc.schema import Above, Like, Max, Min, plain

Numbers = tuple[float, ...]
Matrix = tuple[tuple[float, ...], ...]
Scalar = bool | int | float | str
Lists = Numbers | tuple[str, ...] | Matrix
Above0 = Annotated[float, Above(0)]
Count = Annotated[int, Min(0)]
Size = Annotated[int, Min(1), Max(1 << 20)]
Extent = Annotated[int, Min(0), Max(1 << 20)]
MOST_LAYERS = 1000
# of what follows the tissue: what each image costs grows with these
MOST_RANK, MOST_ITERATIONS = 256, 100
WIDEST_PX = 10.0  # of smoothing, as the node incremental_svd has it


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRow:
    """An input or output of the graph.

    shape: sizes behind the number of tracks, samples or frames; 0 for a free one.
    unit: of each component.
    """

    name: str
    shape: tuple[Extent, ...]
    unit: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRow:
    """A recurrent state: goes in by one name, comes out by another.

    first: of a new track; "identity" is that matrix, row by row.
    """

    goes_in: str
    comes_out: str
    size: Size
    first: Literal["identity", "zeros"] = "zeros"

    def __post_init__(self) -> None:
        if self.first == "identity" and math.isqrt(self.size) ** 2 != self.size:
            raise ValueError(f"size {self.size} cannot be an identity matrix")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkTable:
    """Which network: the keys of `streamproc.models.network.NetworkConfig`.

    base: ekf, to the gain of the graph that of an extended Kalman filter is added;
    scaled, that filter's gain is multiplied by what the graph says.
    gate, gate_parts: of a tracker, which the network was trained with.
    """

    architecture: Literal[1, 2] = 2
    in_mult: Annotated[int, Min(1)] = 5
    out_mult: Annotated[int, Min(1)] = 40
    hidden: Annotated[int, Min(1)] = 10
    base: Literal["none", "ekf", "scaled"] = "none"
    position: tuple[Count, ...] = ()
    gate: Annotated[float, Above(0)] | None = None
    gate_parts: tuple[tuple[Count, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTable:
    """The state-space model that the network was trained for."""

    name: str
    params: dict[str, Scalar | Lists | dict[str, Scalar]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalesTable:
    """Typical sizes of what the network sees (m, n, n) and of the state (n, n)."""

    observation: tuple[Above0, ...]
    evolution: tuple[Above0, ...]
    error: tuple[Above0, ...]
    center: Numbers
    spread: tuple[Above0, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTable:
    """How it was made. command: makes it again."""

    recipe: str
    seed: int
    split: str
    command: str
    minutes: Annotated[float, Min(0)]
    iterations: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """Mean squared error on held-out data, over trajectories.

    row: which filter.  seeds: of training.  each_db: the mean of each of them.
    """

    case: str
    row: str
    mean_db: float
    std_db: float
    seeds: Annotated[int, Min(1)] = 1
    each_db: Numbers = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRow:
    """Symbol error rate on held-out data, over training seeds.

    row: which detector.  symbols: tested, of each seed.  se: standard error of the
    first seed's rate, over runs of symbols, for errors come in bursts.
    """

    case: str
    row: str
    ser: float
    se: float
    symbols: Count
    seeds: Annotated[int, Min(1)] = 1
    each_ser: Numbers = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What every artifact says; format is the version of this table.

    package: version of streamproc that made it.  sha256: of model.onnx.
    """

    format: Literal[1] = 1
    name: Annotated[str, Like(r"[a-z0-9][a-z0-9_.-]*", "a lower-case name")]
    package: str
    sha256: Annotated[str, Like("[0-9a-f]{64}", "64 hexadecimal digits")]
    known_failures: tuple[str, ...] = ()
    training: TrainingTable
    inputs: tuple[PortRow, ...]
    outputs: tuple[PortRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerCard(Card):
    """A learned Kalman filter.

    nis_scale: by which S is multiplied before the NIS is formed.
    """

    kind: Literal["kalmannet"] = "kalmannet"
    nis_scale: Above0 = 1.0
    Q: Matrix
    R: Matrix
    network: NetworkTable
    model: ModelTable
    scales: ScalesTable
    states: tuple[StateRow, ...]
    metrics: tuple[MetricRow, ...] = ()

    def __post_init__(self) -> None:
        n, m = self.n, self.m
        scales = self.scales
        sizes = {
            "Q": ({len(self.Q), *map(len, self.Q)}, n),
            "R": ({len(self.R), *map(len, self.R)}, m),
            "scales.evolution": ({len(scales.evolution)}, n),
            "scales.center": ({len(scales.center)}, n),
            "scales.spread": ({len(scales.spread)}, n),
        }
        for key, (got, expected) in sizes.items():
            if got != {expected}:
                raise ValueError(
                    f"{key}: expected {expected} of each, got {sorted(got)} "
                    f"(scales.error has {n}, scales.observation {m})"
                )
        if self.network.position and max(self.network.position) >= n:
            raise ValueError(f"network.position: expected components below {n}")

    @property
    def n(self) -> int:
        """Components of the state."""
        return len(self.scales.error)

    @property
    def m(self) -> int:
        """Components of the observation."""
        return len(self.scales.observation)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorCard(Card):
    """Learned likelihoods for the trellis of a channel with memory.

    constellation: of the symbols.  memory: taps of the channel, so that there are
    len(constellation)**memory classes, the newest symbol's digit the lowest.
    head: mixture, noise around class means; poisson, counts at class rates; dnn, a
    classifier of samples; residual, a classifier added to a mixture.
    base: what class means come from: taps of a channel, each its own, or in between.
    labels: symbols it learned from.
    evidence, evidence_std: log p(y) of a sample given all before it, on the validation
    split, or of a recording on what it learned from: mean and deviation, nats; where a
    channel is another one, it is far below.
    """

    kind: Literal["factor_graph"] = "factor_graph"
    constellation: Modulation
    memory: Annotated[int, Min(1), Max(6)]
    head: Literal["mixture", "poisson", "dnn", "residual"]
    base: Literal["taps", "means", "blend"] = "taps"
    labels: Count
    evidence: float
    evidence_std: Annotated[float, Above(1e-6)]
    metrics: tuple[ErrorRow, ...] = ()

    def __post_init__(self) -> None:
        points = constellation(self.constellation).M
        expected = {"y": ((1,), (2,)), "loglik": ((points**self.memory,),)}
        for row in (*self.inputs, *self.outputs):
            if row.shape not in expected.get(row.name, ()):
                raise ValueError(
                    f"{row.name}: {row.shape} does not fit {self.constellation} and "
                    f"memory {self.memory}, which have {points**self.memory} classes"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class NmseRow:
    """Normalised squared error of bubbles on held-out patches.

    row: which filter.  nmse_db: summed over all patches before the quotient is taken.
    gain_db: over the best rival that was tuned, patch by patch on the same data, with
    its 95 % bootstrap interval low_db..high_db; 0 for that rival.
    seeds: of training.  each_db: the error of each of them.
    """

    case: str
    row: str
    nmse_db: float
    gain_db: float = 0.0
    low_db: float = 0.0
    high_db: float = 0.0
    patches: Annotated[int, Min(1)]
    seeds: Annotated[int, Min(1)] = 1
    each_db: Numbers = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTable:
    """What follows the tissue from image to image, as when the network was trained.

    rank, forget, threshold, iterations, smooth_z_px, smooth_x_px, tile_px: as the node
    incremental_svd has them.
    """

    rank: Annotated[int, Min(1), Max(MOST_RANK)]
    forget: Annotated[float, Above(0), Max(1)]
    threshold: Annotated[float, Above(0)]
    iterations: Annotated[int, Min(1), Max(MOST_ITERATIONS)] = 2
    smooth_z_px: Annotated[float, Min(0), Max(WIDEST_PX)] = 0.0
    smooth_x_px: Annotated[float, Min(0), Max(WIDEST_PX)] = 0.0
    tile_px: Annotated[int, Min(4), Max(1 << 20)] = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ClutterCard(Card):
    """Unfolded robust PCA that tells bubbles from tissue, in windows or image by image.

    window: images that it looks at.  rank: of their tissue.
    layers: of the network for windows, each of which is an answer.
    tile: side in px of the tiles in which a window's noise scale is taken.
    memory: of the tissue's components, where it also takes images one by one.
    recent: newest images that are looked at then.  live_layers: of the network then.
    guard_mean, guard_std: of the residual's coherence, between neighbours in space, on
    the validation split; guard_limit: above it, what is there is not what it learned.
    """

    kind: Literal["corona"] = "corona"
    window: Annotated[int, Min(2), Max(1 << 20)]
    rank: Size
    layers: Annotated[int, Min(1), Max(MOST_LAYERS)]
    tile: Size = 32
    recent: Size = 4
    live_layers: Annotated[int, Min(0), Max(MOST_LAYERS)] = 0
    memory: MemoryTable | None = None
    guard_limit: Annotated[float, Above(0), Max(1)]
    guard_mean: float
    guard_std: Annotated[float, Min(0)]
    metrics: tuple[NmseRow, ...] = ()

    def __post_init__(self) -> None:
        if self.rank >= self.window:
            raise ValueError(
                f"rank: expected less than window = {self.window}, got {self.rank}"
            )
        if (self.memory is None) != (self.live_layers == 0):
            raise ValueError(
                "memory: expected it with live_layers, and without where they are 0; "
                f"got live_layers = {self.live_layers}"
            )
        for key, expected in (("inputs", self._taken), ("outputs", self._made)):
            got = {row.name: row.shape for row in getattr(self, key)}
            if got != expected:
                raise ValueError(
                    f"{key}: expected {expected} of rank {self.rank}, {self.layers} "
                    f"layers and {self.live_layers} live ones, got {got}"
                )

    @property
    def _taken(self) -> dict[str, tuple[int, ...]]:
        image = (2, 0, 0)
        whole = {"image": image, "sparse": image, "basis": (2 * self.rank,)}
        live = ("recent", "hear", "say") if self.live_layers else ()
        return whole | dict.fromkeys(live, image)

    @property
    def _made(self) -> dict[str, tuple[int, ...]]:
        image, basis = (2, 0, 0), (2 * self.rank,)
        one = {"sparse": image, "tissue": image, "basis": basis}
        whole = {
            f"{name}_{number}": shape
            for number in range(1, self.layers + 1)
            for name, shape in one.items()
        }
        live = [
            f"live_{name}_{number}"
            for number in range(1, self.live_layers + 1)
            for name in ("sparse", "tissue")
        ]
        return whole | dict.fromkeys(live, image)


CARDS: dict[str, type[TrackerCard] | type[DetectorCard] | type[ClutterCard]] = {
    "kalmannet": TrackerCard,
    "factor_graph": DetectorCard,
    "corona": ClutterCard,
}


def card_text(card: Card) -> str:
    """A card as TOML, such that reading it gives the card again."""
    return "\n".join(_table_lines(plain(card), ())) + "\n"


def _table_lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines, below = [], []
    for key, value in table.items():
        at = (*path, key)
        if value is None:
            continue  # reading finds the same
        if isinstance(value, Mapping):
            below += ["", f"[{_dotted(at)}]", *_table_lines(value, at)]
        elif value and isinstance(value, list) and isinstance(value[0], Mapping):
            for row in value:
                below += ["", f"[[{_dotted(at)}]]", *_table_lines(row, at)]
        else:
            lines.append(f"{_dotted((key,))} = {_toml(value)}")
    return lines + below


def _dotted(path: tuple[str, ...]) -> str:
    bare = all(key.replace("_", "").replace("-", "").isalnum() for key in path)
    return ".".join(path if bare and "".join(path).isascii() else map(_toml, path))


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
