"""A consumer of an edge that is let in, and means no good."""

from __future__ import annotations

import socket

import numpy as np
import zmq

from streamproc.frame import Frame
from streamproc.transport import notes
from streamproc.transport.protocol import Hello, Sender
from streamproc.transport.seal import seal
from streamproc.transport.sockets import Outbox

from .strangers import resident_mib


def test_a_consumer_that_says_hello_again_and_again_is_sent_no_more_than_fits() -> None:
    """It reads nothing; every Hello asks for all that is held, anew."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    context = zmq.Context()
    outbox = Outbox(context, endpoint)
    sender = Sender(64)
    outbox.add(0, sender)
    for seq in range(64):
        sender.offer(seal(seq, Frame.of(np.zeros(1000), t0_ns=1), 1))
    raw = context.socket(zmq.DEALER)
    raw.set(zmq.ROUTING_ID, b"e\0\0\0\0")
    raw.set(zmq.RCVHWM, 1)
    raw.connect(endpoint)
    before = resident_mib()
    for _ in range(1000):
        for part in notes.encode(Hello(0, 64)):
            raw.send_multipart(part)
        if outbox.socket.poll(100):
            outbox.serve()
        outbox.flush()
        assert resident_mib() - before < 128
    raw.close(0)
    outbox.socket.set(zmq.LINGER, 0)
    outbox.close()
    context.term()
