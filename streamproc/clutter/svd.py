"""SVD clutter filter: tissue is the strongest components of a window."""

from __future__ import annotations

import numpy as np

from streamproc.clutter.lowrank import LowRank
from streamproc.clutter.randomised import RandomisedLowRank
from streamproc.clutter.rank import RankRule
from streamproc.clutter.stream import Separated
from streamproc.clutter.window import Window
from streamproc.frame import Array

LOOK_EVERY = 10  # frames between two looks at spatial components


def svd(window: Array, rule: RankRule, device: str = "cpu") -> Separated:
    """Bubbles and tissue of a window (frame, z, x) c8.

    [Demene et al., IEEE Trans. Med. Imaging 34(11), 2015]
    """
    frames = len(window)
    x = np.ascontiguousarray(window, np.complex64).reshape(1, frames, -1)
    tissue = LowRank(frames, _components(rule, frames), device)
    tissue.follow(x, 0)
    rank = rank_of(rule, x, tissue)
    flat = np.empty_like(x)
    tissue.low(x, flat, rank=rank)
    low = flat.reshape(window.shape)
    return Separated(window - low, low, rank)


def rank_of(rule: RankRule, x: Array, tissue: LowRank) -> int:
    """What a rule says of a window (1, frame, pixel) whose components are known."""
    if rule.spatial:
        return rule.of_space(tissue.v[0].conj().T @ x[0])
    return min(rule.of(tissue.sigma, x.shape[2]), len(tissue.sigma))


def _components(rule: RankRule, frames: int) -> int:
    """How many a rule has to see."""
    return min(rule.rank, frames) if rule.rule == "fixed" else frames


class SvdStream:
    """The newest image less its part in the strongest components of a sliding window.

    With no more images than components nothing is left of them: zeros.

    randomised: finds as many as `rule.rank` from a random start, by the Gram matrix
    times a few columns; for the rule fixed only.
    """

    def __init__(
        self,
        rule: RankRule,
        shape: tuple[int, int],
        device: str = "cpu",
        *,
        window: int = 20,
        randomised: bool = False,
    ) -> None:
        self._rule = rule
        self._images = Window(window, shape)
        components = _components(rule, window)
        make = RandomisedLowRank if randomised else LowRank
        self._tissue = make(window, components, device)
        self._low = np.empty((1, 1, shape[0] * shape[1]), np.complex64)
        self._seen = self._rank = 0
        self._looked = -LOOK_EVERY  # when the rule last saw spatial components

    @property
    def full(self) -> bool:
        """Whether the window is."""
        return self._seen >= self._images.frames

    def push(self, image: Array) -> Separated:
        """Bubbles and tissue of a new image (z, x) c8."""
        self._images.push(image)
        self._seen += 1
        x, tissue = self._images.flat, self._tissue
        tissue.follow(x, 0)
        if not self._rule.spatial or self._seen >= self._looked + LOOK_EVERY:
            self._rank = rank_of(self._rule, x, tissue)
            self._looked = self._seen
        if self._seen <= self._rank:
            return Separated(np.zeros_like(image), image.copy(), self._seen)
        tissue.low(x, self._low, rank=self._rank, first=x.shape[1] - 1)
        low = self._low.reshape(image.shape).copy()
        return Separated(image - low, low, self._rank)

    @property
    def state(self) -> dict[str, Array]:
        return {
            **{f"images.{name}": one for name, one in self._images.state.items()},
            "counts": np.array([self._seen, self._rank, self._looked], np.int64),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        images = self._images
        images.state = {key: state[f"images.{key}"] for key in images.state}
        self._seen, self._rank, self._looked = map(int, state["counts"])
