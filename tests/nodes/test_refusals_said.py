"""What a live source refuses is said: at once, then once a minute for each cause."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from streamproc.nodes import live
from streamproc.nodes.udp_source import UdpSource, UdpSourceConfig
from streamproc.schema import build

XYZ = {"dtype": "f8", "dims": {"axis": 3}}


@pytest.fixture
def sensor() -> Any:
    node = UdpSource(build(UdpSourceConfig, {"port": 0, "header": "wire", **XYZ}))
    node.accept()
    node.open("cpu")
    yield node
    node.close()


def send(node: UdpSource, datagram: bytes, times: int = 1) -> None:
    before = sum(node.report().values())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for _ in range(times):
            out.sendto(datagram, ("127.0.0.1", node.port))
    end = time.monotonic() + 20
    while sum(node.report().values()) < before + times:
        assert node.process() is None and time.monotonic() < end


def test_a_wrong_header_is_said_at_once_and_again_after_a_minute(
    sensor: UdpSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(live.time, "monotonic", lambda: now_s)
    sensor._refuse("refused_wire", "version 7")
    for _ in range(50):
        sensor._refuse("refused_wire", "version 8")
    sensor._refuse("late", "seq 3 after 5")
    now_s += live.NEWS_S
    sensor._refuse("refused_wire", "version 9")
    assert sensor.notices == [
        "1 x refused_wire, the last: version 7",
        "1 x late, the last: seq 3 after 5",
        "51 x refused_wire, the last: version 9",
    ]
    assert sensor.report()["refused_wire"] == 52


def test_what_a_stranger_sends_stays_short_and_printable(sensor: UdpSource) -> None:
    head = b"\x98\x01\xda\x04\x00" + b"\x1b[2J\n" * 200 + bytes(24)
    send(sensor, len(head).to_bytes(4, "little") + head, times=20)
    sensor._refuse("late", "\x1b[31m\x9b\n\u202e" + "x" * 10_000)
    wire, late = sensor.notices
    assert wire.startswith("1 x refused_wire, the last: ")
    assert wire.isprintable() and late.isprintable()
    assert len(late) < live.MOST_WHY + 50 and late.endswith("x...")


def test_a_node_that_is_opened_again_says_it_again(sensor: UdpSource) -> None:
    sensor._refuse("late", "seq 3 after 5")
    sensor.close()
    sensor.open("cpu")
    sensor._refuse("late", "seq 4 after 6")
    assert len(sensor.notices) == 2
