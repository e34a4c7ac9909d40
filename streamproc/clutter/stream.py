"""What every streaming clutter filter is: an image in, its bubbles and tissue out."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from streamproc.frame import Array


class Separated(NamedTuple):
    """Bubbles and tissue, of a window (frame, z, x) or of an image (z, x), c8.

    rank: of the tissue.
    """

    bubbles: Array
    tissue: Array
    rank: int


class Stream(Protocol):
    """Takes images (z, x) c8, finite, one by one, and separates the newest.

    `push` gives arrays that it never writes again. `full` says whether the filter has
    seen as much as it looks back; before, its answers are worse. A state, set on a
    fresh stream of the same shape, goes on bit-equal.
    """

    @property
    def full(self) -> bool: ...

    def push(self, image: Array) -> Separated: ...

    @property
    def state(self) -> dict[str, Array]: ...

    @state.setter
    def state(self, state: dict[str, Array]) -> None: ...
