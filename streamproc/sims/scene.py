"""Scene: what all scenes share. Random numbers by split and chunk, exact restore."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, Literal

import numpy as np

from streamproc.errors import ConfigError
from streamproc.frame import Array, Signature

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

LARGEST_SEED: Final = 2**32 - 1  # one word of numpy's SeedSequence

Carry = dict[str, Array]  # what one chunk leaves to the next


def generator(seed: int, split: Split, chunk: int) -> np.random.Generator:
    """Random numbers of one chunk. Chunk 0 is the scene's own set-up.

    No two of (seed, split, chunk) share a stream, so splits are disjoint by
    construction and any chunk can be drawn again without the ones before it.
    ConfigError for a seed below 0 or above LARGEST_SEED: it would be two words, of
    which the second would be taken for a split.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise ConfigError(f"seed: expected 0 to {LARGEST_SEED}, got {seed}")
    entropy = (seed, SPLITS.index(split), chunk)
    return np.random.default_rng(np.random.SeedSequence(entropy))


class Scene(ABC):
    """Frames without end, drawn `chunk_frames` at a time.

    A kind says how a scene begins and how a chunk follows from the one before;
    everything random comes from the generator it is given. Arrays handed out are
    rows of a chunk that is never written again.
    """

    def __init__(self, seed: int, split: Split, chunk_frames: int) -> None:
        self.frame = 0  # frames handed out so far
        self._seed, self._split, self._size = seed, split, chunk_frames
        self._before: Carry = {}
        self._after: Carry = {}
        self._chunk: dict[str, Array] = {}

    @abstractmethod
    def signatures(self) -> dict[str, Signature]:
        """What each port gives."""

    @abstractmethod
    def _begin(self, rng: np.random.Generator) -> Carry:
        """Draw what stays for the whole scene; the carry of the first chunk."""

    @abstractmethod
    def _draw(
        self, rng: np.random.Generator, carry: Carry, first: int, frames: int
    ) -> tuple[dict[str, Array], Carry]:
        """Frames `first`... by port, time first; and the carry. Changes no argument."""

    def next(self) -> dict[str, Array]:
        """The next frame's array of each port."""
        row = self.frame % self._size
        if row == 0:
            self._fill()
        self.frame += 1
        return {port: rows[row] for port, rows in self._chunk.items()}

    def _set_up(self) -> None:
        """Once, and not before a frame or the state is wanted."""
        if not self._after:
            self._after = self._begin(generator(self._seed, self._split, 0))

    def _fill(self) -> None:
        self._set_up()
        chunk = self.frame // self._size
        self._before = self._after
        rng = generator(self._seed, self._split, 1 + chunk)
        self._chunk, self._after = self._draw(
            rng, self._before, chunk * self._size, self._size
        )

    @property
    def state(self) -> dict[str, Array]:
        """Frames handed out, and what the chunk they ended in began with."""
        self._set_up()
        carry = self._before if self.frame % self._size else self._after
        return {"frame": np.array(self.frame, np.int64), **carry}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._set_up()
        carry = dict(state)
        self.frame = int(carry.pop("frame"))
        self._after = carry
        if self.frame % self._size:
            self._fill()
