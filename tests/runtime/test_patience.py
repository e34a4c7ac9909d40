"""Snapshots may wait, unless an edge waits for them: this one, or one further up."""

from __future__ import annotations

import pytest

from streamproc.config import loads
from streamproc.graph import build
from streamproc.runtime import ledger
from streamproc.runtime.checkpoint import CheckpointFile
from streamproc.runtime.inlet import Inlet
from streamproc.runtime.ledger import Ledger
from streamproc.runtime.plan import make_plans
from streamproc.transport import notes
from streamproc.transport.protocol import Frames, Receiver, Sealed, Sender

MANY = 10**9  # frames between two snapshots: more than come
TINY = 3


class Box:
    """An inbox without a socket."""

    def __init__(self, receiver):
        self.receiver = receiver


class Bare(Inlet):
    """An inlet without a station: what has come was taken."""

    @property
    def position(self):
        return self.inbox.receiver.next

    def record(self):
        return []


class Hop:
    """A worker that passes every `thin`-th frame on; time stands still in it."""

    def __init__(self, folder, name, before, after, thin=1):
        self.before, self.after, self.thin = before, after, thin
        self.receiver = Receiver(before.depth)
        senders = {} if after is None else {0: after}
        file = CheckpointFile(folder / name)
        inlet = Bare(0, Box(self.receiver), None, 0)
        self.ledger = Ledger({}, [inlet], senders, [], file, MANY)
        self.ledger._patient_ns = ledger.LONGEST_NS

    def turn(self):
        """What a worker's loop does once."""
        for note in self.before.pull():
            for frame in self.receiver.receive(note):
                self.receiver.take()
                self.ledger.moved += 1
                if self.after is not None and frame.seq % self.thin == 0:
                    offer(self.after)
        if self.after is not None:
            self.after.urgent = self.ledger.pressed
        self.ledger.settle()
        for note in self.receiver.pull():
            self.before.receive(note)


def offer(sender):
    sender.offer(Sealed(sender.next_seq, 8, b""))


@pytest.fixture
def still(monkeypatch):
    """No time passes, and a snapshot costs none."""
    monkeypatch.setattr(ledger, "now_ns", lambda: 0)
    monkeypatch.setattr(ledger, "_COST_SHARE", 0)


@pytest.mark.parametrize("thin", [1, 4])
def test_a_small_edge_does_not_wait_for_the_patience_further_down(
    still, tmp_path, thin
):
    edges = [Sender(TINY), Sender(64), Sender(64)]
    names = ("mid", "next", "out")
    hops = [
        Hop(tmp_path, name, before, after, thin if name == "mid" else 1)
        for name, before, after in zip(names, edges, [*edges[1:], None], strict=True)
    ]
    for _ in range(400):
        if not edges[0].full:
            offer(edges[0])
        for hop in hops:
            hop.turn()
    assert edges[0].next_seq > 60, "it came to a halt"
    assert edges[0].settled_to > edges[0].next_seq - TINY - 1


def test_what_is_not_pressed_waits(still, tmp_path):
    edge = Sender(64)
    hop = Hop(tmp_path, "out", edge, None)
    for _ in range(40):
        offer(edge)
        hop.turn()
    assert edge.settled_to == 0


def test_that_acks_are_waited_for_is_said_once_of_every_frame():
    sender, receiver = Sender(64), Receiver(64)
    for note in receiver.pull():
        sender.receive(note)
    offer(sender)
    assert [n.pressed for n in sender.pull() if isinstance(n, Frames)] == [False]
    assert sender.pull() == []
    sender.urgent = True
    (said,) = sender.pull()
    assert said == Frames(1, [], True)
    assert sender.pull() == []
    ((part,),) = notes.encode(said)
    assert notes.Reader().read([part]) == Frames(1, [], True)
    assert receiver.receive(said) == ()
    assert receiver.pressed
    offer(sender)
    (both,) = sender.pull()
    assert both.pressed
    assert sender.pull() == []
    for note in receiver.pull():  # nothing to say: it has had nothing new
        sender.receive(note)
    assert sender.pull() == []


GRAPH = """
[graph]
name = "depths"
edges = ["src -> mid -> out", "mid -> aside -> end"]
[nodes]
src   = { kind = "streamproc.measure.ends:Pulse" }
mid   = { kind = "identity" }
out   = { kind = "streamproc.measure.ends:End" }
aside = { kind = "identity" }
end   = { kind = "streamproc.measure.ends:End" }
[edge."src -> mid"]
depth = 4
[edge."mid -> aside"]
depth = 32
on_full = "drop_oldest"
[edge."aside -> end"]
depth = 100
"""


def test_a_worker_knows_the_smallest_edge_that_waits_for_it(tmp_path):
    plans = make_plans(build(loads(GRAPH, "depths.toml")), tmp_path)
    tightest = {name: plan["tightest"] for name, plan in plans.items()}
    assert tightest == {"src": 100, "mid": 4, "out": 4, "aside": 32, "end": 32}
