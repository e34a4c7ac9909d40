"""The edge protocol under a simulated network: any loss, any restart, any order."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from streamproc.transport.protocol import (
    LATEST,
    Ack,
    Frames,
    Hello,
    OnFull,
    Receiver,
    Sealed,
    Sender,
    ToConsumer,
    ToProducer,
    window_of,
)

FRAMES = 60


def made(seq: int) -> Sealed:
    """What the source makes for a seq, however often it is asked."""
    return Sealed(seq, 100, f"frame {seq}")


@dataclass
class Edge:
    """A producer, a consumer and two links between them, stepped by hand.

    The consumer keeps what it took; `safe` is what would survive its crash. The
    producer's checkpoint is what it had offered when everything before was settled.
    """

    depth: int
    on_full: OnFull
    to_consumer: deque[ToConsumer] = field(default_factory=deque)
    to_producer: deque[ToProducer] = field(default_factory=deque)
    queue: deque[Sealed] = field(default_factory=deque)
    kept: list[int] = field(default_factory=list)
    safe: int = 0
    producer_checkpoint: tuple[int, int] = (0, 0)
    finished: bool = False

    def __post_init__(self) -> None:
        self.sender = Sender(self.depth, self.on_full)
        lossy = self.on_full != "block"
        self.receiver = Receiver(window_of(self.depth, self.on_full), lossy=lossy)
        self.sender.link_up()

    def offer(self) -> None:
        if self.sender.next_seq < FRAMES and not self.sender.full:
            self.sender.offer(made(self.sender.next_seq))
        if self.sender.next_seq == FRAMES:
            self.sender.finish()

    def checkpoint_producer(self) -> None:
        # A lossy edge holds back no checkpoint; a lossless one until all is acked.
        if self.on_full != "block" or not self.sender.held:
            self.producer_checkpoint = (self.sender.next_seq, self.sender.dropped)

    def press(self) -> None:
        self.sender.urgent = not self.sender.urgent

    def send(self) -> None:
        self.to_consumer.extend(self.sender.pull())
        self.to_producer.extend(self.receiver.pull())

    def carry_to_consumer(self) -> None:
        if self.to_consumer:
            self.queue.extend(self.receiver.receive(self.to_consumer.popleft()))

    def carry_to_producer(self) -> None:
        if self.to_producer:
            self.sender.receive(self.to_producer.popleft())

    def take(self) -> None:
        if self.queue:
            self.kept.append(self.queue.popleft().seq)
            self.receiver.take()
        elif self.receiver.ended and not self.finished:
            self.commit()
            self.finished = True
            self.receiver.finish()

    def commit(self) -> None:
        self.safe = len(self.kept)
        seen = self.kept[-1] + 1 if self.kept else 0
        self.receiver.commit(seen if self.queue else self.receiver.next)

    def lose_link(self) -> None:
        self.to_consumer.clear()
        self.to_producer.clear()
        self.sender.link_up()

    def restart_consumer(self) -> None:
        if self.finished:
            return
        self.queue.clear()
        del self.kept[self.safe :]
        window = window_of(self.depth, self.on_full)
        upto = self.receiver._upto  # what a checkpoint would have stored
        self.receiver = Receiver(
            window,
            next=upto,
            lossy=self.on_full != "block",
            accepted=self.safe,
            dropped=upto - self.safe,
        )
        self.lose_link()

    def restart_producer(self) -> None:
        done = self.sender.done
        self.sender = Sender(
            self.depth, self.on_full, *self.producer_checkpoint, resumed=True, done=done
        )
        self.lose_link()

    def nudge(self) -> None:
        self.receiver.nudge()

    def check(self) -> None:
        """What must hold at every moment."""
        sender = self.sender
        assert sender.held <= self.depth
        assert self.kept == sorted(set(self.kept)), "out of order or twice"
        if self.on_full == "block":
            assert sender.dropped == 0
            assert self.receiver.dropped == self.receiver.lost == 0
            assert self.kept == list(range(len(self.kept))), "a gap on block"

    def settle(self) -> None:
        """Let the network be well, and everything come to its end."""
        for round_ in range(4000):
            if self.sender.done and self.finished:
                return
            self.offer()
            self.send()
            self.carry_to_consumer()
            self.carry_to_producer()
            self.take()
            if round_ % 3 == 0:
                self.commit()
            self.checkpoint_producer()
            if round_ % 200 == 199 and not self.finished:
                self.nudge()
            self.check()
        raise AssertionError("the edge came to a halt")


STEPS = [
    "offer",
    "send",
    "carry_to_consumer",
    "carry_to_producer",
    "take",
    "commit",
    "checkpoint_producer",
    "press",
    "lose_link",
    "restart_consumer",
    "restart_producer",
    "nudge",
]
WELL = STEPS[:8]


def steps(names: list[str]) -> st.SearchStrategy[list[tuple[str, int]]]:
    step = st.tuples(st.sampled_from(names), st.integers(1, 12))
    return st.lists(step, max_size=80)


def play(edge: Edge, script: list[tuple[str, int]]) -> None:
    for name, times in script:
        for _ in range(times if name in WELL else 1):
            getattr(edge, name)()
            edge.check()


@settings(max_examples=400, deadline=None)
@given(depth=st.integers(1, 9), script=steps(STEPS))
def test_block_loses_nothing_whatever_fails(depth, script):
    edge = Edge(depth, "block")
    play(edge, script)
    edge.settle()
    assert edge.kept == list(range(FRAMES))
    assert edge.receiver.accepted == FRAMES
    assert edge.sender.dropped == edge.receiver.dropped == edge.receiver.lost == 0


@settings(max_examples=300, deadline=None)
@given(
    depth=st.integers(1, 9),
    policy=st.sampled_from(["drop_oldest", "drop_newest", "latest"]),
    script=steps(STEPS),
)
def test_every_drop_is_counted_on_both_sides(depth, policy, script):
    edge = Edge(depth, policy)
    play(edge, script)
    edge.settle()
    assert len(edge.kept) + edge.sender.dropped == FRAMES
    assert edge.receiver.accepted == len(edge.kept)
    assert edge.receiver.dropped == edge.sender.dropped
    assert edge.receiver.lost == 0


@settings(max_examples=200, deadline=None)
@given(depth=st.integers(1, 9), script=steps(WELL))
def test_at_every_moment_sent_is_delivered_dropped_or_in_flight(depth, script):
    for policy in ("block", "drop_oldest", "drop_newest", "latest"):
        edge = Edge(depth, policy)
        for name, times in script:
            for _ in range(times):
                getattr(edge, name)()
                settled = sum(
                    seq < edge.sender._acked for seq in edge.kept[: edge.safe]
                )
                offered = edge.sender.next_seq
                assert offered == settled + edge.sender.dropped + edge.sender.held


def test_latest_gives_a_slow_consumer_the_newest_frame():
    edge = Edge(8, "latest")
    for _ in range(8):
        edge.send()
        edge.carry_to_consumer()
        edge.carry_to_producer()
    for _ in range(20):
        edge.offer()
    edge.send()
    edge.carry_to_consumer()
    edge.take()
    assert edge.kept == [19]


def test_drop_oldest_keeps_the_end_and_drop_newest_the_beginning():
    for policy, expected in (("drop_oldest", range(16, 20)), ("drop_newest", range(4))):
        sender = Sender(4, policy)
        for seq in range(20):
            sender.offer(made(seq))
        sender.receive(Hello(0, 99))
        (frames,) = [n for n in sender.pull() if isinstance(n, Frames)]
        assert [f.seq for f in frames.frames] == list(expected)
        assert sender.dropped == 16


def test_a_consumer_that_wants_no_history_gets_none():
    sender = Sender(8)
    for seq in range(5):
        sender.offer(made(seq))
    sender.receive(Hello(LATEST, 4))
    sender.offer(made(5))
    (frames,) = [n for n in sender.pull() if isinstance(n, Frames)]
    assert [f.seq for f in frames.frames] == [5]
    assert (sender.dropped, frames.first) == (5, 5)


def test_what_a_consumer_forgot_after_acking_is_counted_as_lost():
    sender = Sender(8)
    for seq in range(5):
        sender.offer(made(seq))
    sender.receive(Ack(3, 9))
    receiver = Receiver(8)
    hello, _ = receiver.pull()
    sender.receive(hello)
    taken = [f.seq for note in sender.pull() for f in receiver.receive(note)]
    assert taken == [3, 4]
    assert receiver.lost == 3


def test_credit_bounds_what_is_in_flight():
    sender, receiver = Sender(64), Receiver(4)
    for seq in range(64):
        sender.offer(made(seq))
    for note in receiver.pull():
        sender.receive(note)
    got = [f.seq for note in sender.pull() for f in receiver.receive(note)]
    assert got == [0, 1, 2, 3]
    receiver.take(2)
    for note in receiver.pull():
        sender.receive(note)
    got = [f.seq for note in sender.pull() for f in receiver.receive(note)]
    assert got == [4, 5]


def test_dropped_frames_cost_no_credit():
    sender, receiver = Sender(2, "drop_oldest"), Receiver(1)
    sender.receive(receiver.pull()[0])
    for seq in range(50):
        sender.offer(made(seq))
    for _ in range(50):
        for note in sender.pull():
            receiver.take(len(receiver.receive(note)))
        receiver.commit(receiver.next)
        for said in receiver.pull():
            sender.receive(said)
    assert receiver.next == 50
    assert receiver.accepted + receiver.dropped == 50


def test_an_ack_that_died_with_the_link_is_told_again():
    edge = Edge(4, "block")
    for _ in range(12):
        edge.offer()
        edge.send()
        edge.carry_to_consumer()
        edge.carry_to_producer()
        edge.take()
    edge.commit()
    edge.send()
    edge.lose_link()  # the ack of all that is held was under way
    assert edge.sender.full
    for _ in range(6):
        edge.send()
        edge.carry_to_consumer()
        edge.carry_to_producer()
    assert not edge.sender.full
