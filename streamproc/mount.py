"""Mount: a node in service. The one way a node is called, bare, fused or alone."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from streamproc.errors import BadFrameError, EndOfStream, FrameError, NodeError
from streamproc.frame import Array, Frame, Header, Signature
from streamproc.node import Node, ports

Outputs = tuple[Frame | None, ...]


def where(error: BaseException) -> str:
    """file.py:line of the innermost call that raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{os.path.basename(last.filename)}:{last.lineno}"


class Mount:
    """Calls a node, checks what it gives, and numbers it per output port.

    Because `run_node`, `open_node` and every worker go through here, a node gives
    the same bytes wherever it runs.
    """

    def __init__(
        self, name: str, node: Node[Any], outputs: dict[str, Signature]
    ) -> None:
        self.name = name
        self.node = node
        self.outputs = outputs
        self.is_open = False
        self.key = 0  # the port whose frame's seq names a call
        self.next_seq = [0] * len(outputs)
        self._process = node.process
        self._streams = [f"{name}:{port}" for port in outputs]
        self._signatures = list(outputs.values())
        self._shapes: list[Any] = [None] * len(outputs)
        self._single = ports(type(node)).outputs == ("out",)
        self._nothing: Outputs = (None,) * len(outputs)

    def __call__(self, frames: Sequence[Frame], t_in_ns: int = 0) -> Outputs:
        """One process(); frames in port order. A source gets none and `t_in_ns`.

        Raises EndOfStream, BadFrameError as the node does; anything else that goes
        wrong becomes a NodeError with node and seq.
        """
        try:
            made = self._process(*frames)
            return self._nothing if made is None else self._number(made, t_in_ns)
        except (EndOfStream, BadFrameError):
            raise
        except Exception as error:
            seq = frames[self.key].header.seq if frames else None
            raise NodeError(self.name, seq, error, where(error)) from error

    def finish(self) -> Iterator[Outputs]:
        """What the node still holds at its end, numbered like everything before."""
        for made in self.node.finish():
            yield self._number(made, 0)

    def _number(self, made: Any, t_in_ns: int) -> Outputs:
        if self._single and isinstance(made, Frame):
            return (self._stamp(0, made, t_in_ns),)
        if self._single or not isinstance(made, tuple):
            wanted = "a Frame, as x.with_data(...) makes" if self._single else "a tuple"
            raise TypeError(f"process must return {wanted}, got {type(made).__name__}")
        stamp = self._stamp
        return tuple(
            [
                None if frame is None else stamp(port, frame, t_in_ns)
                for port, frame in enumerate(made)
            ]
        )

    def _stamp(self, port: int, frame: Frame, t_in_ns: int) -> Frame:
        """Check against the signature (fast when nothing changed), then number."""
        shapes = [(a.dtype, a.shape) for a in frame.arrays.values()]
        if shapes != self._shapes[port]:
            try:
                self._signatures[port].check(frame)
            except FrameError as error:
                # The node's own fault, not the frame's: its on_error decides.
                raise TypeError(f"accept promised other than came: {error}") from error
            self._shapes[port] = shapes
        _, _, t0_ns, t_in, flags, meta = frame.header
        seq = self.next_seq[port]
        self.next_seq[port] = seq + 1
        header = Header(self._streams[port], seq, t0_ns, t_in or t_in_ns, flags, meta)
        stamped = Frame.__new__(Frame)
        stamped.header = header
        stamped.arrays = frame.arrays
        return stamped

    def snapshot(self) -> dict[str, Array]:
        """A copy of everything this mount needs to go on from here."""
        state = {name: np.array(array) for name, array in self.node.state.items()}
        state["next_seq"] = np.array(self.next_seq, np.int64)
        return state

    def restore(self, state: dict[str, Array]) -> None:
        """Go back to a snapshot."""
        own = dict(state)
        self.next_seq = [int(seq) for seq in own.pop("next_seq")]
        if own or self.node.state:
            self.node.state = own
