"""Beyond loopback only with keys: every kind, every way to write a host."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamproc import addresses
from streamproc.cli import main
from streamproc.config import loads
from streamproc.errors import GraphError, PlacementError
from streamproc.frame import Signature
from streamproc.graph import build as build_graph
from streamproc.nodes.tcp_source import TcpSource, TcpSourceConfig
from streamproc.nodes.udp_source import UdpSource, UdpSourceConfig
from streamproc.nodes.zmq_place import place_of
from streamproc.nodes.zmq_sink import ZmqSink, ZmqSinkConfig
from streamproc.nodes.zmq_source import ZmqSource, ZmqSourceConfig
from streamproc.runtime.plan import make_plans
from streamproc.schema import SchemaError, build
from streamproc.transport.plain import Place, PlainIn, PlainOut
from streamproc.transport.sockets import Outbox, make_context

from .strangers import SERVER, XYZ, key_folder, until

NAMES = {
    "here": ["127.0.0.1"],
    "here6": ["::1", "127.0.0.1"],
    "lab": ["10.0.0.7"],
    "both": ["127.0.0.1", "10.0.0.7"],
    "localhost": ["127.0.0.1"],
    **{odd: ["127.0.0.1"] for odd in ("here ", "here\n", "here\0")},
}
LOOPBACK = ["127.0.0.1", "127.8.8.8", "::1", "localhost", "here", "here6"]
BEYOND = ["0.0.0.0", "*", "::", "10.0.0.7", "fe80::1", "::ffff:127.0.0.1", "lab",
          "both", "nobody", "eth0", "127.0.0.1;10.0.0.7", "", "ünï",
          # ZeroMQ takes what is before a semicolon for the source's address.
          "::1%1", "::1%lo", "::1%1]:0;[0.0.0.0", "::1%1]:0;[::", "127.0.0.1:0;0.0.0.0",
          "here ", "here\n", "here\0"]  # fmt: skip


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A name service that knows NAMES, and can be made to lie."""
    known = {name: list(found) for name, found in NAMES.items()}

    def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (address, 0)) for address in known[host]]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", getaddrinfo)
    return known


def endpoint(host: str) -> str:
    return f"tcp://[{host}]:5555" if ":" in host else f"tcp://{host}:5555"


def accept(kind: str, host: str, keys: str = "") -> None:
    """Check a node of that kind at that host."""
    if kind == "tcp":
        TcpSource(build(TcpSourceConfig, {**XYZ, "address": host, "port": 5})).accept()
    elif kind == "udp":
        UdpSource(build(UdpSourceConfig, {**XYZ, "address": host, "port": 5})).accept()
    elif kind == "sink":
        config = {"endpoint": endpoint(host), "keys": keys}
        ZmqSink(build(ZmqSinkConfig, config)).accept(Signature.of("f8", {}))
    else:
        config = {**XYZ, "endpoint": endpoint(host), "keys": keys}
        ZmqSource(build(ZmqSourceConfig, config)).accept()


@pytest.mark.parametrize("kind", ["source", "sink", "tcp", "udp"])
@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_needs_no_keys(kind: str, host: str) -> None:
    accept(kind, host)


@pytest.mark.parametrize("kind", ["source", "sink", "tcp", "udp"])
@pytest.mark.parametrize("host", BEYOND)
def test_beyond_loopback_is_refused_without_keys(kind: str, host: str) -> None:
    with pytest.raises(PlacementError, match="keys") as caught:
        accept(kind, host)
    assert repr(host) in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


@pytest.mark.parametrize("kind", ["source", "sink"])
@pytest.mark.parametrize("host", ["0.0.0.0", "*", "::", "10.0.0.7", "lab", "both"])
def test_beyond_loopback_is_fine_with_keys(
    tmp_path: Path, kind: str, host: str
) -> None:
    accept(kind, host, str(key_folder(tmp_path / "keys")))


@pytest.mark.parametrize("kind", ["source", "sink"])
def test_keys_that_are_not_there_are_refused_before_start(
    tmp_path: Path, kind: str
) -> None:
    with pytest.raises(PlacementError, match="streamproc keys make"):
        accept(kind, "10.0.0.7", str(tmp_path / "none"))
    folder = key_folder(tmp_path / "keys")
    (folder / "secret").chmod(0o644)
    with pytest.raises(PlacementError, match="chmod 600"):
        accept(kind, "10.0.0.7", str(folder))


@pytest.mark.parametrize(
    "config",
    [
        {"server": "bob"},
        {"server": "bob", "keys": "k"},
        {"keys": "k", "bind": False},
        {"keys": "k", "endpoint": "ipc:///x"},
    ],
)
def test_keys_that_say_too_little_or_too_much_are_refused(
    config: dict[str, Any],
) -> None:
    with pytest.raises(SchemaError):
        build(ZmqSourceConfig, {**XYZ, "endpoint": endpoint("10.0.0.7"), **config})


GRAPH = """
[graph]
name = "far"
edges = ["count -> rec"]
{graph}
[nodes.count]
kind = "tests.runtime.recorder:Count"
host = "{host}"
frames = {frames}
rate_hz = 100
[nodes.rec]
kind = "tests.runtime.recorder:Recorder"
path = "{path}"
"""


def text(path: Path, host: str, graph: str = "", frames: int = 10) -> str:
    return GRAPH.format(path=path / "out", host=host, graph=graph, frames=frames)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "10.0.0.7", "lab", "both", "nobody", "::1%1", "::1;0.0.0.0"]
)
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_graph_beyond_loopback_without_keys_exits_2_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str, command: str
) -> None:
    file = tmp_path / "far.toml"
    file.write_text(text(tmp_path, host))
    assert main([command, str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for part in ("far.toml:6", "nodes.count", f"'{host}'", "streamproc keys make"):
        assert part in line


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_graph_whose_keys_are_not_there_exits_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    file = tmp_path / "far.toml"
    file.write_text(text(tmp_path, "0.0.0.0", f'keys = "{tmp_path}/none"'))
    assert main([command, str(file)]) == 2
    assert "streamproc keys make" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["::1%1", "::1%1]:0;[0.0.0.0", "127.0.0.1 "])
def test_a_host_that_is_no_address_is_refused_with_keys_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    folder = key_folder(tmp_path / "keys")
    file = tmp_path / "far.toml"
    file.write_text(text(tmp_path, host, f'keys = "{folder}"'))
    assert main(["check", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert repr(host) in line and "127.0.0.1" in line
    for kind in ("source", "sink"):
        with pytest.raises(PlacementError, match="give an address"):
            accept(kind, host, str(folder))


@pytest.mark.parametrize(
    "bound", ["tcp://0.0.0.0:*", "tcp://[::1%1]:0;[0.0.0.0]:*", "tcp://*:*"]
)
def test_what_is_bound_without_keys_is_loopback_or_closed(bound: str) -> None:
    """Whatever was overlooked before: the socket itself is asked."""
    with pytest.raises(PlacementError, match=r"0\.0\.0\.0.*expected loopback"):
        PlainIn(Place(bound, True), socket="pull", most_bytes=99)
    with pytest.raises(PlacementError, match=r"0\.0\.0\.0.*expected loopback"):
        PlainOut(Place(bound, True), socket="push", hwm=1)
    context = make_context()
    with pytest.raises(PlacementError, match=r"0\.0\.0\.0.*expected loopback"):
        Outbox(context, bound)
    context.term()  # would wait for a socket left open


@pytest.mark.parametrize("kind", ["source", "sink"])
@pytest.mark.parametrize("name", ["@abstract", "*"])
def test_an_ipc_name_that_has_no_mode_is_refused(kind: str, name: str) -> None:
    config = {"endpoint": f"ipc://{name}"}
    with pytest.raises(GraphError, match="name a path"):
        if kind == "sink":
            ZmqSink(build(ZmqSinkConfig, config)).accept(Signature.of("f8", {}))
        else:
            ZmqSource(build(ZmqSourceConfig, {**XYZ, **config})).accept()


def test_a_name_is_asked_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that is loopback whenever it is judged, and all addresses afterwards."""
    answers = iter([["127.0.0.1"], ["0.0.0.0"]])

    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        return [(0, 0, 0, "", (address, 0)) for address in next(answers)]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", getaddrinfo)
    config = build(ZmqSourceConfig, {**XYZ, "endpoint": "tcp://here:5555"})
    assert place_of(config).endpoint == "tcp://127.0.0.1:5555"
    with pytest.raises(PlacementError, match="beyond"):
        place_of(config)


def test_what_was_checked_is_what_is_bound(
    tmp_path: Path, resolver: dict[str, list[str]]
) -> None:
    """A name that is loopback when it is checked and something else afterwards."""
    graph = build_graph(loads(text(tmp_path, "here")))
    resolver["here"] = ["10.0.0.7"]
    with pytest.raises(PlacementError, match="beyond"):
        make_plans(graph, tmp_path)
    resolver["here"] = ["127.0.0.1"]
    plans = make_plans(graph, tmp_path)
    assert plans["count"]["endpoint"].startswith("tcp://127.0.0.1:")
    assert plans["rec"]["inputs"][0]["endpoint"] == plans["count"]["endpoint"]


def test_a_plan_holds_no_secret(tmp_path: Path) -> None:
    folder = key_folder(tmp_path / "keys")
    graph = build_graph(loads(text(tmp_path, "0.0.0.0", f'keys = "{folder}"')))
    plans = make_plans(graph, tmp_path)
    assert plans["count"]["locked"]
    assert not plans["rec"]["locked"]
    assert plans["rec"]["inputs"][0]["locked"]
    assert SERVER.public in str(plans)
    assert SERVER.secret not in str(plans)


LISTENING = """
[graph]
edges = ["count -> a", "z -> b", "t -> c", "u -> d"]
[nodes.count]
kind = "tests.runtime.recorder:Count"
host = "127.0.0.1"
rate_hz = 100
frames = 1000000
[nodes]
z = {{ kind = "zmq.source", endpoint = "tcp://127.0.0.1:*", dtype = "f8" }}
t = {{ kind = "tcp.source", port = 0, listen = true, dtype = "f8" }}
u = {{ kind = "udp.source", port = 0, dtype = "f8" }}
a = {{ kind = "tests.runtime.recorder:Recorder", path = "{folder}/a" }}
b = {{ kind = "tests.runtime.recorder:Recorder", path = "{folder}/b" }}
c = {{ kind = "tests.runtime.recorder:Recorder", path = "{folder}/c" }}
d = {{ kind = "tests.runtime.recorder:Recorder", path = "{folder}/d" }}
"""


def listening(pids: set[int]) -> set[str]:
    """Addresses at which these processes listen, as ss tells them."""
    told = subprocess.run(
        ["ss", "-Hltnup"], capture_output=True, text=True, check=True
    ).stdout
    mine = [row for row in told.splitlines() if any(f"pid={p}," in row for p in pids)]
    return {row.split()[4].rpartition(":")[0].strip("[]") for row in mine}


def family(pid: int) -> set[int]:
    """A process and all that came of it."""
    found = {pid}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found |= family(int(child))
    return found


@pytest.mark.skipif(shutil.which("ss") is None, reason="ss is not installed")
def test_ss_sees_a_running_graph_on_loopback_only(tmp_path: Path) -> None:
    """Edges over tcp, a zmq.source, a tcp.source and a udp.source, as by default."""
    file = tmp_path / "all.toml"
    file.write_text(LISTENING.format(folder=tmp_path))
    command = [sys.executable, "-m", "streamproc", "run", str(file), "--duration", "30"]
    run = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=dict(os.environ))
    try:
        flowing = tmp_path / "a"
        until(lambda: flowing.exists() and flowing.stat().st_size, 30)
        assert listening(family(run.pid)) == {"127.0.0.1"}
    finally:
        run.terminate()
        run.wait(20)
