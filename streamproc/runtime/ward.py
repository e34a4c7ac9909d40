"""Ward: a node whose crashes do not end the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from streamproc.errors import (
    ArtifactError,
    EndOfStream,
    FrameError,
    NodeError,
    QuarantinedError,
)
from streamproc.frame import Flags, Frame
from streamproc.mount import Mount, Outputs
from streamproc.runtime.crumb import Crumb
from streamproc.runtime.quarantine import Quarantine
from streamproc.runtime.said import Said

Condemned = Mapping[int, str]  # seq -> what calling the node with this frame did

CHANGED = (
    "node {!r}: expected the fallback that had taken over, {}, as its state is in the "
    "checkpoint, got another; restore it, or name another --state"
)
_DEGRADED, _GAP = int(Flags.DEGRADED), int(Flags.GAP)


class Ward:
    """Calls a node, and leaves word of what with, should that be its end.

    A frame that crashed the process before is condemned: it goes into quarantine, the
    node's next output is flagged GAP. A node with a twin is replaced by it instead,
    from that frame on; what the twin makes is flagged DEGRADED.
    """

    def __init__(
        self,
        mount: Mount,
        place: int,
        crumb: Crumb,
        quarantine: Quarantine,
        say: Callable[[str, str], None],
        twin: Mount | None = None,
    ) -> None:
        self.mount = mount
        self.twin = twin
        self.condemned: Condemned = {}
        self.quarantined = 0
        self.fallen = False
        self._gap = False
        self._place = place
        self._crumb = crumb
        self._quarantine = quarantine
        self._say = say

    def __call__(self, frames: Sequence[Frame]) -> Outputs:
        """As Mount's; QuarantinedError for a frame that the node is spared."""
        seq = frames[self.mount.key].header.seq
        if seq in self.condemned and not self.fallen:
            if self.twin is None:
                self._spare_it(frames, self.condemned[seq])
            self.fall(self.condemned[seq])
        numbers = list(self.mount.next_seq)
        self._crumb.drop(self._place, seq)
        try:
            made = self.mount(frames)
        except (NodeError, FrameError, EndOfStream):
            # Not of what ends the process, as sys.exit() does: that is a crash.
            self._crumb.clear()
            self.mount.next_seq = numbers  # of several outputs, some may have got one
            raise
        self._crumb.clear()
        if self.fallen or self._gap:
            return self._flagged(made)
        return made

    def _spare_it(self, frames: Sequence[Frame], cause: str) -> None:
        self.quarantined += 1
        self._gap = True
        raise QuarantinedError(cause + self.keep(frames, cause))

    def keep(self, frames: Sequence[Frame], cause: str) -> str:
        """Put frames into quarantine; what to add to the cause if they are lost."""
        lost = self._quarantine.put(frames, cause, self.mount.key)
        return f"; {lost}" if lost else ""

    def dropped(self, frame: Frame) -> None:
        """An output that goes nowhere; the next one says so in its place."""
        self._gap = self._gap or bool(frame.header.flags & _GAP)

    def _flagged(self, made: Outputs) -> Outputs:
        flags = (_DEGRADED if self.fallen else 0) | (_GAP if self._gap else 0)
        for frame in made:
            if frame is not None:
                header = frame.header
                frame.header = header._replace(flags=header.flags | flags)
                self._gap = False
        return made

    def fall(self, cause: str) -> None:
        """The twin takes over, for good; it has seen no frame before."""
        name, twin = self.mount.name, self.twin
        assert twin is not None
        to = type(twin.node).__name__
        self._say("error", Said("fallback", node=name, to=to, cause=cause))
        self._step_in(twin)

    def _step_in(self, twin: Mount) -> None:
        twin.next_seq = self.mount.next_seq
        self.mount.node.close()
        self.mount, self.fallen = twin, True

    def record(self) -> list[Any]:
        """What a checkpoint keeps."""
        fallen = _told(self.mount) if self.fallen else ""
        return [fallen, self._gap, self.quarantined]

    def restore(self, record: Sequence[Any]) -> None:
        """Go back to a checkpoint; the mount's own state comes after.

        ArtifactError where another fallback had taken over.
        """
        fallen, self._gap, self.quarantined = record
        if not fallen or self.fallen:
            return
        if self.twin is None or _told(self.twin) != fallen:
            raise ArtifactError(CHANGED.format(self.mount.name, fallen))
        self._step_in(self.twin)


def _told(mount: Mount) -> str:
    return f"{type(mount.node).__name__} of {mount.node.config}"
