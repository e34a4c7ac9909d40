"""One edge as two pure state machines: no sockets, no clock.

The consumer says Hello(next, credit) when it appears and Ack(upto, credit) as it
goes; the producer answers Welcome, Frames and End. Producer and consumer each keep
enough to lose either side, or the link, at any moment:

* The Sender holds a frame until it is acked, that is, until everything made from
  it is safe downstream. A consumer that reappears says where to go on.
* `Frames.first` says which seq the bundle goes on from, so that a frame dropped by
  policy (first <= next < seq) is told from one lost on the way (next < first).
* Credit counts frames since Hello, never seqs: a run of dropped seqs costs none.

Always: offered = settled + dropped + held, where held are in flight or waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

OnFull = Literal["block", "drop_oldest", "drop_newest", "latest"]

EVERY_SEQ = 1 << 62  # Done.upto of a consumer that needs nothing any more
LATEST = -1  # Hello.next of a consumer that wants no history
BUNDLE_FRAMES = 64
BUNDLE_BYTES = 1 << 16


class Hello(NamedTuple):
    """Consumer: I am here; go on from seq `next`, with `credit` frames at most.

    accepted: how many of the seqs before `next` arrived; a producer that was
    restarted learns from it how many were dropped.
    """

    next: int
    credit: int
    accepted: int = 0


class Ack(NamedTuple):
    """Consumer: all below seq `upto` is safe; `credit` frames since Hello in all."""

    upto: int
    credit: int


class Done(NamedTuple):
    """Consumer: I have seen the end, and all below `upto` is safe."""

    upto: int


class Who(NamedTuple):
    """Producer: a link came up; say Hello."""


class Welcome(NamedTuple):
    """Producer: I go on from seq `next`; what you asked for before it is gone."""

    next: int


class Sealed(NamedTuple):
    """A frame ready to travel: its seq, its size, and its content, not looked at."""

    seq: int
    size: int
    content: Any


class Frames(NamedTuple):
    """Producer: frames in order; what is missing from `first` on was dropped.

    pressed: this edge, or one before it, is nearly full, so an early ack is worth more
    than a cheap one; without frames, of what was sent before.
    """

    first: int
    frames: Sequence[Sealed]
    pressed: bool = False


class End(NamedTuple):
    """Producer: no frame will have seq `next` or a later one; `first` as above."""

    first: int
    next: int


ToProducer = Hello | Ack | Done
ToConsumer = Who | Welcome | Frames | End


def window_of(depth: int, on_full: OnFull) -> int:
    """How many frames a consumer lets the producer send ahead of what it took.

    They can no longer be dropped: the fresher a policy wants them, the fewer.
    """
    if on_full == "latest":
        return 1
    return max(1, depth // 4) if on_full == "drop_oldest" else depth


@dataclass
class Sender:
    """The producer's half of one edge.

    After a restart it is `resumed`: built with the `next_seq` and `dropped` of its
    checkpoint, and `full` until the consumer has said what it already has.
    """

    depth: int
    on_full: OnFull = "block"
    next_seq: int = 0  # of the next frame offered
    dropped: int = 0
    resumed: bool = False
    done: bool = False
    urgent: bool = False  # the producer itself is pressed for acks

    _held: deque[Sealed] = field(default_factory=deque)
    _sent: int = 0  # how many of _held, from the left, were sent since Hello
    _gone: int = 0  # how many were ever sent, so may have arrived: never dropped
    _first: int = 0  # the seq the next bundle goes on from
    _pressed: int = 0  # what is below was sent as pressed
    _acked: int = 0  # everything below is safe downstream
    _peer_next: int = -1  # the seq this consumer asked for; -1: nobody is there
    _credit: int = 0  # frames that may still be sent, were all since Hello taken
    _spent: int = 0
    _out: list[ToConsumer] = field(default_factory=list)
    _ending: bool = False
    _end_sent: bool = False

    def __post_init__(self) -> None:
        self._acked = self.next_seq

    @property
    def held(self) -> int:
        """Frames waiting or in flight."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """Frames that have not been sent yet."""
        return len(self._held) - self._sent

    @property
    def settled_to(self) -> int:
        """Every seq below this was acked or dropped."""
        return self._held[0].seq if self._held else self.next_seq

    @property
    def full(self) -> bool:
        """Whether `offer` must wait."""
        if self.resumed:
            return True
        return self.on_full == "block" and len(self._held) >= self.depth

    def offer(self, frame: Sealed) -> None:
        """Take the next frame; seqs come without gaps, and never while `full`."""
        if frame.seq != self.next_seq:
            raise ValueError(f"offered seq {frame.seq}, expected {self.next_seq}")
        self.next_seq += 1
        if frame.seq < self._acked:
            return  # made again after a crash, and safe already
        if frame.seq < self._peer_next:
            self._held.append(frame)  # made again; the consumer has it, not yet safe
            self._sent += 1
            self._gone += 1
        elif self._make_room():
            self._held.append(frame)
        else:
            self.dropped += 1

    def _make_room(self) -> bool:
        """Drop what the policy says; False: the new frame itself is dropped."""
        if self.on_full == "latest":
            while self._drop_oldest():
                pass
        if len(self._held) < self.depth:
            return True
        if self.on_full == "block":
            raise ValueError("offered to a full edge; ask `full` first")
        return self.on_full == "drop_oldest" and self._drop_oldest()

    def _drop_oldest(self) -> bool:
        """Drop the oldest frame that cannot have arrived, if there is one."""
        if self._gone == len(self._held):
            return False
        del self._held[self._gone]
        self.dropped += 1
        return True

    def skip(self) -> None:
        """The next frame was dropped before it got here (too late, say)."""
        self.next_seq += 1
        self.dropped += 1

    def finish(self) -> None:
        """No more frames will be offered; the consumer hears it after the last."""
        self._ending = True

    def link_up(self) -> None:
        """A link came up, and who is there may be new: ask, send nothing else."""
        self._peer_next = -1
        self._out = [Who()]

    def receive(self, note: ToProducer) -> None:
        """Take what the consumer said."""
        if isinstance(note, Hello):
            self._greet(note)
            return
        self._settle(note.upto)
        if isinstance(note, Ack):
            self._credit = max(self._credit, note.credit)
        else:
            self.done = True
            self.resumed = False

    def _greet(self, hello: Hello) -> None:
        if hello.next == LATEST:
            self.dropped += len(self._held)
            self._held.clear()
            self._gone = 0
        asked = self.next_seq if hello.next == LATEST else hello.next
        self._first = self._peer_next = max(asked, self._acked)
        self._sent = sum(frame.seq < self._peer_next for frame in self._held)
        self._gone = max(self._gone, self._sent)
        self._credit, self._spent, self._pressed = hello.credit, 0, 0
        if self.resumed and self.on_full != "block":
            self.dropped = self._first - hello.accepted
        self._end_sent = self.resumed = False
        self._out = [Welcome(self._first)]

    def _settle(self, upto: int) -> None:
        self._acked = max(self._acked, upto)
        while self._held and self._held[0].seq < upto:
            self._held.popleft()
            self._sent = max(0, self._sent - 1)
            self._gone = max(0, self._gone - 1)

    def pull(self) -> list[ToConsumer]:
        """What to send now, in order."""
        told, self._out = self._out, []
        if self._peer_next < 0:
            return told
        while self._sent < len(self._held) and (bundle := self._bundle()):
            first, self._first = self._first, bundle[-1].seq + 1
            self._sent += len(bundle)
            self._gone = max(self._gone, self._sent)
            self._spent += len(bundle)
            pressed = self.urgent or 4 * len(self._held) >= 3 * self.depth
            self._pressed = self._first if pressed else self._pressed
            told.append(Frames(first, bundle, pressed))
        if self.urgent and self._sent > 0 and self._pressed < self._first:
            self._pressed = self._first  # of what was sent as not pressed
            told.append(Frames(self._first, [], True))
        if self._ending and not self._end_sent and not self.waiting:
            self._end_sent = True
            told.append(End(self._first, self.next_seq))
        return told

    def _bundle(self) -> list[Sealed]:
        held, sent = self._held, self._sent
        bundle: list[Sealed] = []
        most = min(len(held) - sent, self._credit - self._spent, BUNDLE_FRAMES)
        size = 0
        for index in range(sent, sent + most):
            frame = held[index]
            size += frame.size
            if bundle and size > BUNDLE_BYTES:
                break
            bundle.append(frame)
        return bundle


@dataclass
class Receiver:
    """The consumer's half of one edge.

    `accepted`, `dropped`, `lost` and `duplicates` count what came over this edge in
    all; on a `block` edge, whatever happens, dropped = lost = 0.
    """

    window: int
    next: int = 0  # the seq expected next
    lossy: bool = False  # the edge may drop: what is gone at the producer was dropped
    accepted: int = 0
    dropped: int = 0
    lost: int = 0  # gone at the producer though never received here
    duplicates: int = 0  # sent twice after a reconnect, and set aside
    ended: bool = False
    pressed: bool = False  # the producer waits for acks
    queued: int = 0  # frames accepted, not yet taken

    _upto: int = 0
    _credit: int = 0  # granted since Hello
    _told: Ack = field(default_factory=lambda: Ack(0, 0))
    _greeting: bool = True  # a Hello is due
    _greeted: bool = False  # a Welcome answered the last Hello
    _finished: bool = False
    _done_told: bool = False

    def __post_init__(self) -> None:
        self._upto = self.next

    def receive(self, note: ToConsumer) -> Sequence[Sealed]:
        """Take what the producer said; returns the frames that are new, in order."""
        if isinstance(note, Frames):
            return self._accept(note)
        if isinstance(note, Who):
            self.nudge()
            self._done_told = False
        elif isinstance(note, Welcome):
            self._welcomed(note)
        elif self._goes_on(note.first):
            self.dropped += note.next - self.next
            self.next = note.next
            self.ended = True
        return ()

    def _welcomed(self, note: Welcome) -> None:
        self._greeted = True
        if note.next > self.next:
            if self.lossy:
                self.dropped += note.next - self.next
            else:
                self.lost += note.next - self.next
            self.next = note.next

    def _accept(self, note: Frames) -> Sequence[Sealed]:
        new = note.frames
        if len(new) != 1 or new[0].seq < self.next:
            new = [frame for frame in new if frame.seq >= self.next]
        self.duplicates += len(note.frames) - len(new)
        self.pressed = note.pressed
        if not new or not self._goes_on(note.first):
            return ()
        last = new[-1].seq
        self.dropped += last + 1 - self.next - len(new)
        self.accepted += len(new)
        self.queued += len(new)
        self.next = last + 1
        return new

    def _goes_on(self, first: int) -> bool:
        """Whether nothing is missing on the way; if so, ask for it once."""
        if first <= self.next:
            return True
        if self._greeted:
            self.nudge()
        return False

    def nudge(self) -> None:
        """Say Hello again: the link is new, something is missing, or all is quiet."""
        self._greeting = True

    def take(self, frames: int = 1) -> None:
        """The node has taken frames out of the queue: that many more may come."""
        self.queued -= frames
        self._credit += frames

    def commit(self, upto: int) -> None:
        """Everything below seq `upto` is safe."""
        self._upto = max(self._upto, upto)

    def finish(self) -> None:
        """The end was seen, and everything before it is safe."""
        self._finished = True

    def pull(self) -> list[ToProducer]:
        """What to send now, in order."""
        told: list[ToProducer] = []
        if self._finished:
            if not self._done_told:
                self._done_told = True
                told.append(Done(self.next))
            return told
        if self._greeting:
            self._greeting = self._greeted = False
            self._credit = max(0, self.window - self.queued)
            self._told = Ack(self._upto, self._credit)
            # What was acked before may have died with the link.
            told += Hello(self.next, self._credit, self.accepted), self._told
        upto, credit = self._told
        if self._upto > upto or self._credit - credit >= max(1, self.window // 4):
            self._told = Ack(self._upto, self._credit)
            told.append(self._told)
        return told
