"""Node kinds that fail in rarer ways than those of `faulty`."""

from __future__ import annotations

import os
import signal

from streamproc import Frame, Node, Signature
from streamproc.errors import BadFrameError

from .faulty import FaultyConfig
from .recorder import Count, Sum


class FailingSource(Count):
    """Raises instead of giving its 50th frame."""

    def process(self) -> Frame:
        frame = super().process()
        if frame.data[0] == 50:
            raise ValueError("no device")
        return frame


class RefusingTwin(Sum):
    """Refuses the very frame that it took over at."""

    def process(self, x: Frame) -> Frame | None:
        if x.data[0] == 50:
            raise BadFrameError("nor can I")
        return super().process(x)


class BackFirst(Node[FaultyConfig]):
    """Has its feedback on the first port."""

    def accept(self, back: Signature, x: Signature):
        return x

    def process(self, back: Frame, x: Frame) -> Frame:
        if float(x.data[0]) in self.config.segfault_at:
            os.kill(os.getpid(), signal.SIGSEGV)
        if float(x.data[0]) in self.config.raise_at:
            raise ValueError("told to raise")
        return x.with_data(x.data)
