"""A sliding window of images, always contiguous, oldest first."""

from __future__ import annotations

import numpy as np

from streamproc.frame import Array


class Window:
    """The last `frames` images (z, x) c8; zeros before there are any.

    Images are written one after the other into room for twice as many; when it is
    full, what still counts moves to its beginning. So a window is never turned, and a
    push costs one copy, or once in a while that of a whole window.
    """

    def __init__(self, frames: int, shape: tuple[int, int]) -> None:
        self.frames, self.shape = frames, shape
        self._room = np.zeros((2 * frames, *shape), np.complex64)
        self._start = 0

    def push(self, image: Array | None = None) -> None:
        """Take an image in, zeros for None; the oldest one leaves."""
        if self._start == self.frames:
            self._room[: self.frames] = self._room[self.frames :]
            self._start = 0
        self._start += 1
        self._room[self._start + self.frames - 1] = 0 if image is None else image

    @property
    def images(self) -> Array:
        """(frame, z, x), to be read or written until the next push."""
        return self._room[self._start : self._start + self.frames]

    @property
    def flat(self) -> Array:
        """The same (1, frame, pixel), as kernels take it."""
        return self.images.reshape(1, self.frames, -1)

    @property
    def state(self) -> dict[str, Array]:
        return {"images": self.images, "start": np.array(self._start, np.int64)}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._start = int(state["start"])
        self.images[...] = state["images"]
