"""An outlet of the lab streaming layer (LSL)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, ClassVar

import numpy as np

from streamproc.errors import GraphError
from streamproc.frame import FREE, Frame, Signature
from streamproc.nodes.lsl_place import FORMATS, LslNode, confined, library
from streamproc.schema import Max, Min

SAMPLES = "sample"  # the dim of several samples in one frame
LINGER_S = 0.5  # at the end, for what readers have not fetched
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class LslSinkConfig:
    """What the stream is called, and what of a frame goes out.

    stream: its name
    content: its content type, such as EEG
    source_id: by which readers find it again after a restart; without it, its name
    array: which array of a frame, such as a tracker's x
    labels: of the channels, one for each
    wait_s: how long the first frame waits for a reader; after that, and with 0, what
    nobody listens to is counted as unheard
    """

    stream: str
    content: str = ""
    source_id: str = ""
    array: str = "data"
    labels: tuple[str, ...] = ()
    wait_s: Annotated[float, Min(0), Max(60)] = 0.0


class LslSink(LslNode[LslSinkConfig]):
    """Every frame is one sample, stamped with its t0_ns; its numbers are the channels.

    An array whose first dim is called `sample` is as many samples; its t0_ns is the
    first one's. Readers are on this machine: LSL has no keys. Who reads too slowly
    loses the oldest samples after six minutes, which LSL tells nobody. After a crash
    frames since the checkpoint are sent again, with the same stamps. Counted are
    samples, and those that nobody listened to.
    """

    counted: ClassVar[tuple[str, ...]] = ("sent", "unheard")
    _outlet: Any = None

    def accept(self, frame: Signature) -> None:
        spec = frame.array(self.config.array)
        if spec.dtype not in FORMATS.values():
            known = " ".join(sorted(FORMATS.values()))
            raise GraphError(f"LSL carries {known}, got {spec}")
        if FREE in spec.shape:
            raise GraphError(f"lsl.sink needs every size fixed, got {spec}")
        self._several = spec.dims[:1] == (SAMPLES,)
        self._shape = spec.shape[1:] if self._several else spec.shape
        self._channels = prod(self._shape)
        if not self._channels:
            raise GraphError(f"lsl.sink needs at least one channel, got {spec}")
        self._dtype, self._unit = spec.dtype, spec.unit
        per_frame = spec.shape[0] if self._several else 1
        self._rate_hz = (frame.rate_hz or 0.0) * per_frame
        if self._several and not self._rate_hz:
            raise GraphError("several samples in a frame need a rate_hz to be stamped")
        told = self.config.labels
        if told and len(told) != self._channels:
            raise GraphError(f"expected {self._channels} labels, got {len(told)}")

    def open(self, device: str) -> None:
        super().open(device)
        self._patience_s = self.config.wait_s
        lsl = library()
        with confined():
            self._outlet = lsl.StreamOutlet(self._info(lsl))

    def _info(self, lsl: Any) -> Any:
        config = self.config
        formats = {code: number for number, code in FORMATS.items()}
        info = lsl.StreamInfo(
            config.stream,
            config.content,
            self._channels,
            self._rate_hz,
            formats[self._dtype],
            config.source_id or config.stream,
        )
        if config.labels:
            info.set_channel_labels(list(config.labels))
        if self._unit:
            info.set_channel_units(self._unit)
        return info

    def process(self, frame: Frame) -> None:
        outlet = self._outlet
        if outlet is None:
            raise self._closed()
        heard = bool(outlet.have_consumers())
        end_s = time.monotonic() + self._patience_s
        while not heard and time.monotonic() < end_s:
            heard = bool(outlet.wait_for_consumers(_LOOK_S))
        self._patience_s = 0.0
        rows = frame.arrays[self.config.array].reshape(-1, self._channels)
        stamp_s = (frame.header.t0_ns - self._offset_ns) / 1e9
        if self._several:  # LSL stamps the last one of them
            last_s = stamp_s + (len(rows) - 1) / self._rate_hz
            outlet.push_chunk(np.ascontiguousarray(rows), last_s)
        else:
            outlet.push_sample(rows[0].tolist(), stamp_s)
        self._counts["sent"] += len(rows)
        self._counts["unheard"] += 0 if heard else len(rows)

    def close(self) -> None:
        if self._outlet is not None:
            if self._outlet.have_consumers():
                time.sleep(LINGER_S)
            self._outlet = None
