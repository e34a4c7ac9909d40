"""A learned node and its classical twin, held against one truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from streamproc.errors import PlacementError
from streamproc.frame import Array, Frame, Signature
from streamproc.node import Node
from streamproc.nodes.batches import Ratio
from streamproc.nodes.exhibits import Exhibit, exhibit_of
from streamproc.nodes.score import Metric, Score, ScoreConfig
from streamproc.schema import Min

LEARNED, CLASSICAL, SHOWN = "learned.", "classical.", "shown."  # in the state
RATIO = "ratio"
DB = 10 / math.log(10)  # in a relative change of a power


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """What to count, from when, and what to draw.

    metric: mse_db per component, nmse_db relative to the truth's energy, psnr_db to
    its largest magnitude so far, ser of symbols, rmse of vectors.
    skip: frames left out at the beginning.
    array: of both estimates; where one has no "data", its "x" stands for that.
    components: which of the last dimension count; without them, all.
    title: of its row in the picture; without it, the node's name.
    path: PNG that `streamproc run` draws at the end, inside root; nodes that name the
    same one share it, a row each. Without it, there is a table only.
    root: folder that is never left, neither by .. nor by a link.
    """

    metric: Metric = "mse_db"
    skip: Annotated[int, Min(0)] = 0
    array: str = "data"
    components: tuple[Annotated[int, Min(0)], ...] | None = None
    title: str = ""
    path: str = ""
    root: str = "."

    def score(self) -> ScoreConfig:
        """How one of the two is scored."""
        return ScoreConfig(
            metric=self.metric,
            skip=self.skip,
            array=self.array,
            components=self.components,
        )


class Compare(Node[CompareConfig]):
    """Scores two estimates on the very same frames; `run` ends with the table.

    Takes truth and estimates as `score` does; the observation is only shown. What is
    drawn follows from the sizes: images; LLRs and symbols (ser); a vector's last
    steps, one of many tracks; a waveform. A frame in which either estimate cannot be
    used counts for neither: BadFrameError.
    """

    rehearses: ClassVar[bool] = True

    def __init__(self, config: CompareConfig) -> None:
        super().__init__(config)
        self._learned = Score(config.score())
        self._classical = Score(config.score())
        self._asked: Any = None  # what `exhibit_of` goes by
        self._shown: Exhibit | None = None

    def accept(
        self,
        truth: Signature,
        learned: Signature,
        classical: Signature,
        observation: Signature,
    ) -> None:
        self._learned.accept(truth, learned)
        self._classical.accept(truth, classical)
        names = {spec.name for spec in learned.arrays}
        name = self.config.array if self.config.array in names else "x"
        self._asked = self.config.metric, truth.data, learned.array(name)
        self._observed = observation.arrays[0].name

    def open(self, device: str) -> None:
        if device != "cpu":
            raise PlacementError(f"compare runs on 'cpu' only, not on {device!r}")
        if self._asked is None:
            raise PlacementError("compare was not checked; call accept() first")
        self._learned.open(device)
        self._classical.open(device)
        self._shown = exhibit_of(*self._asked)
        self._ratio = Ratio()

    def process(
        self, truth: Frame, learned: Frame, classical: Frame, observation: Frame
    ) -> None:
        wanted, found = self._learned.matched(truth, learned)
        _, rival = self._classical.matched(truth, classical)
        before = self._learned.error, self._classical.error
        scored = self._learned.process(truth, learned)
        self._classical.process(truth, classical)
        if scored is not None:
            errors = self._learned.error, self._classical.error
            self._ratio.add(errors[0] - before[0], errors[1] - before[1])
        if self._shown is not None:
            seen = observation.arrays[self._observed]
            self._shown.add(
                {
                    "observation": seen,
                    "truth": wanted,
                    "learned": found,
                    "classical": rival,
                }
            )

    @property
    def state(self) -> dict[str, Array]:
        shown = {} if self._shown is None else self._shown.state
        return {
            **{LEARNED + name: one for name, one in self._learned.state.items()},
            **{CLASSICAL + name: one for name, one in self._classical.state.items()},
            **{SHOWN + name: one for name, one in shown.items()},
            RATIO: self._ratio.state,
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._learned.state = _part(state, LEARNED)
        self._classical.state = _part(state, CLASSICAL)
        self._ratio.state = state[RATIO]
        if self._shown is not None:
            self._shown.state = _part(state, SHOWN)

    def report(self) -> dict[str, float]:
        """Both, and what was gained: dB, or how many times fewer errors.

        Less than 0 dB, or than once, where learning loses. gain_se: its standard
        error, over batches of frames.
        """
        learned, classical = self._learned.value, self._classical.value
        relative_se, gain_se = self._ratio.relative_se, math.nan
        if self.config.metric == "ser":
            gain_se = relative_se * classical / learned if learned else math.nan
            gain = classical / learned if learned else math.nan
        else:
            gain_se = DB * relative_se
            if self.config.metric == "rmse":
                both = learned and classical
                gain = 20 * math.log10(classical / learned) if both else math.nan
            else:
                gain = classical - learned
                gain = -gain if self.config.metric == "psnr_db" else gain
        frames = self._learned.report()["frames"]
        return {
            "learned": learned,
            "classical": classical,
            "gain": gain,
            "gain_se": gain_se,
            "frames": frames,
        }

    def exhibit(self) -> dict[str, Any]:
        """What is drawn: `form` and the values of every side."""
        return {} if self._shown is None else self._shown.plain()


def _part(state: dict[str, Array], prefix: str) -> dict[str, Array]:
    return {
        name.removeprefix(prefix): array
        for name, array in state.items()
        if name.startswith(prefix)
    }
