"""A thread that finds an LSL stream, reads it, and finds it again when it is lost."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from streamproc.errors import PlacementError
from streamproc.frame import Array
from streamproc.nodes.bell import Bell
from streamproc.nodes.lsl_place import confined, strangers

MOST_HELD = 1 << 12  # chunks that wait here; more wait in LSL's own buffer
BUFFER_S = 360  # LSL's own, which then throws the oldest away
CHUNK = 1024
LOOK_S, PULL_S, OPEN_S = 0.5, 0.1, 10.0
CORRECT_S, ANSWER_S = 5.0, 1.0  # between two looks at the other machine's clock
STEP_S = 1e-3  # by how far its offset must have moved to be taken anew


class Samples(NamedTuple):
    """values (sample, channel) and stamps (sample), seconds of the local LSL clock."""

    values: Array
    stamps_s: Array


class Event(NamedTuple):
    """What happened to the stream, between samples: found, lost, refused."""

    what: Literal["found", "lost", "refused"]
    text: str


class Inlet:
    """Reads what matches a predicate into `queue`, rings `bell`, and stops on stop().

    choose: which channels of a stream to take; ValueError, in words, for a stream
    that is not the declared one.
    queue: Samples and Events in their order.
    refusal: why the stream that was found last is not the declared one.
    """

    def __init__(
        self,
        lsl: Any,
        predicate: str,
        choose: Callable[[Any], list[int]],
        bell: Bell,
    ) -> None:
        self._lsl = lsl
        self._predicate = predicate
        self._choose = choose
        self._bell = bell
        self.queue: deque[Samples | Event] = deque()
        self.refusal = ""
        self._held = False
        self.settled = threading.Event()  # found or refused for the first time
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lsl", daemon=True)
        self._thread.start()

    @property
    def dead(self) -> bool:
        """Whether its thread has ended of something that it cannot mend."""
        return not self._thread.is_alive() and not self._stopped.is_set()

    def stop(self) -> None:
        """Read no more; returns when the thread is done."""
        self._stopped.set()
        self._thread.join()

    def _put(self, one: Samples | Event) -> None:
        self.queue.append(one)
        self._bell.ring()

    def _event(self, what: Literal["found", "lost", "refused"], text: str) -> None:
        self._put(Event(what, text))
        if what != "lost":
            self.settled.set()

    def _run(self) -> None:
        try:
            self._look()
        finally:
            self.settled.set()
            self._bell.ring()

    def _look(self) -> None:
        while not self._stopped.is_set():
            found = self._lsl.resolve_bypred(self._predicate, 1, LOOK_S)
            if not found:
                continue
            try:
                self._read(found[0])
            except (ValueError, PlacementError) as error:
                if self._held:
                    raise
                if str(error) != self.refusal:
                    self.refusal = str(error)
                    self._event("refused", self.refusal)
                self._stopped.wait(LOOK_S)
            except RuntimeError as error:  # its LostError among them
                if self._held:
                    self._held = False
                    self._event("lost", str(error))
                self._stopped.wait(PULL_S)  # it may answer while it goes away

    def _read(self, info: Any) -> None:
        lsl = self._lsl
        with confined():
            inlet = lsl.StreamInlet(info, max_buflen=BUFFER_S, recover=False)
            whole = inlet.info(OPEN_S)
            channels = self._choose(whole)
            inlet.open_stream(OPEN_S)
            near(whole)
            correction_s = inlet.time_correction(OPEN_S)
        self.refusal = ""
        self._held = True
        self._event("found", f"{whole.name()!r:.60} of {whole.hostname()!r:.60}")
        looked_s = time.monotonic()
        every = channels == list(range(whole.channel_count()))
        while not self._stopped.is_set():
            if len(self.queue) > MOST_HELD:
                self._stopped.wait(PULL_S)
                continue
            values, stamps_s = inlet.pull_chunk(
                PULL_S, CHUNK, min_samples=1, as_numpy=True
            )
            if len(stamps_s):
                taken = values if every else values[:, channels]
                self._put(Samples(taken, stamps_s + correction_s))
            if time.monotonic() - looked_s > CORRECT_S:
                looked_s = time.monotonic()
                now_s = self._correction(inlet, correction_s)
                if abs(now_s - correction_s) > STEP_S:
                    correction_s = now_s

    def _correction(self, inlet: Any, known_s: float) -> float:
        """The clock's offset; what is known of it, where nobody answers in time."""
        try:
            return float(inlet.time_correction(ANSWER_S))
        except self._lsl.util.TimeoutError:
            return known_s


def near(info: Any) -> None:
    """ValueError if the stream that an inlet of ours reads is another machine's."""
    port = re.search(r"<v4data_port>(\d+)<", info.as_xml())
    far = strangers(int(port[1]) if port else 0)
    if far or not port:
        raise ValueError(
            f"LSL stream {info.name()!r:.60}: expected one of this machine, got one of "
            f"{', '.join(far) or 'nowhere'}"
        )


def labels(info: Any) -> list[str]:
    """What a stream calls its channels; empty where it does not say."""
    return _told(info, "label")


def units(info: Any) -> list[str]:
    """Units of its channels; empty where it does not say."""
    return _told(info, "unit")


def _told(info: Any, what: str) -> list[str]:
    told = []
    channel = info.desc().child("channels").child("channel")
    for _ in range(info.channel_count()):
        told.append(channel.child_value(what))
        channel = channel.next_sibling("channel")
    return told if any(told) else []


def stamps_ns(stamps_s: Array, offset_ns: int) -> list[int]:
    """Stamps as UTC in ns."""
    whole: list[int] = (np.rint(stamps_s * 1e9).astype(np.int64) + offset_ns).tolist()
    return whole
