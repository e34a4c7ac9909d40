"""Forward frames as they are: what an edge costs, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from streamproc.frame import Frame, Signature
from streamproc.node import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityConfig:
    """Nothing to say."""


class Identity(Node[IdentityConfig]):
    """Gives each frame back unchanged, on any device."""

    rehearses: ClassVar[bool] = True

    def accept(self, frame: Signature) -> Signature:
        return frame

    def process(self, frame: Frame) -> Frame:
        return frame
