"""Imports point downward: every module stands on a floor, each knows those below."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pytest

from .source import PACKAGES, Module, called, matches, modules, planted, told


class Floor(NamedTuple):
    """Modules, and the floors that they may import, besides their own."""

    modules: str
    knows: str


# The first floor that fits a module is its own.
FLOORS = {
    "kernel_errors": Floor("streamproc_kernels.errors", ""),
    "ref": Floor("streamproc_kernels.ref streamproc_kernels.ref.*", ""),
    "cpu": Floor("streamproc_kernels.cpu streamproc_kernels.cpu.*", "ref"),
    "gpu": Floor(
        "streamproc_kernels.gpu streamproc_kernels.gpu.*", "ref kernel_errors"
    ),
    "kernels": Floor("streamproc_kernels streamproc_kernels.*", "kernel_errors"),
    "errors": Floor("streamproc.errors", ""),
    "on_demand": Floor("streamproc.on_demand", ""),
    # What systemd and the file system are told; they know nothing of frames.
    "notify": Floor("streamproc.notify", ""),
    "confine": Floor("streamproc.confine", "errors"),
    "frame": Floor("streamproc.frame", "errors"),
    "wire": Floor("streamproc.wire", "frame errors"),
    "schema": Floor("streamproc.schema streamproc.schema.*", "errors"),
    "artifact": Floor(
        "streamproc.artifact streamproc.card streamproc.protobuf",
        "modulation schema frame errors",
    ),
    "device": Floor("streamproc.device", "kernels frame errors"),
    "modulation": Floor("streamproc.modulation", "frame errors"),
    "statespace": Floor(
        "streamproc.statespace streamproc.statespace.*", "schema frame errors"
    ),
    "sims": Floor(
        "streamproc.sims streamproc.sims.*",
        "modulation statespace schema frame errors",
    ),
    "filters": Floor(
        "streamproc.filters streamproc.filters.*", "statespace frame on_demand errors"
    ),
    "detection": Floor(
        "streamproc.detection streamproc.detection.*",
        "modulation device frame errors",
    ),
    "clutter": Floor(
        "streamproc.clutter streamproc.clutter.*",
        "artifact device schema frame on_demand errors",
    ),
    "node": Floor("streamproc.node", "frame errors"),
    "mount": Floor("streamproc.mount", "node frame errors"),
    # The edge is a pure state machine: no sockets, no bytes, no frames.
    "edge": Floor("streamproc.transport.protocol", ""),
    # Who may come in from beyond this machine, and how much of it.
    "addresses": Floor("streamproc.addresses", "errors"),
    "keys": Floor("streamproc.keys", "errors"),
    "door": Floor(
        "streamproc.transport.curve streamproc.transport.door streamproc.transport.zap "
        "streamproc.transport.watch",
        "keys errors",
    ),
    "plain": Floor("streamproc.transport.plain", "door wire addresses errors"),
    "transport": Floor(
        "streamproc.transport streamproc.transport.*",
        "door edge wire addresses frame errors",
    ),
    "zmq_nodes": Floor(
        "streamproc.nodes.zmq_* streamproc.nodes.gnuradio_*",
        "counting world plain door keys addresses node schema wire frame errors",
    ),
    # A recording's bytes: of file nodes, and of frames in quarantine.
    "recording": Floor("streamproc.nodes.recording", "wire frame errors"),
    "counting": Floor("streamproc.nodes.counting", "node frame errors"),
    # Nodes that meet the world outside, which speaks the wire's bytes.
    "world": Floor(
        "streamproc.nodes.file_* streamproc.nodes.tcp_* streamproc.nodes.udp_* "
        "streamproc.nodes.bell streamproc.nodes.declared streamproc.nodes.live "
        "streamproc.nodes.load streamproc.nodes.loopback streamproc.nodes.reels "
        "streamproc.nodes.lsl_* "
        "streamproc.nodes.stacks",
        "counting recording addresses confine node schema wire frame errors",
    ),
    "scenes": Floor("streamproc.nodes.scene", "sims node schema frame errors"),
    # The table knows its rows by name only, and who asks it knows none of them.
    "kinds": Floor("streamproc.nodes", "node errors"),
    "nodes": Floor(
        "streamproc.nodes.*",
        "counting clutter detection modulation filters statespace artifact device node "
        "schema frame errors",
    ),
    "graph": Floor(
        "streamproc.graph streamproc.graph.*",
        "addresses kinds node schema frame errors",
    ),
    "config": Floor(
        "streamproc.config streamproc.config.*",
        "graph kinds node schema confine errors",
    ),
    "runtime": Floor(
        "streamproc.runtime streamproc.runtime.*",
        "graph transport door keys addresses edge mount recording kinds node schema "
        "wire frame notify on_demand errors",
    ),
    "testing": Floor("streamproc.testing", "mount node frame errors kernels"),
    "embedding": Floor("streamproc.embedding", "mount kinds node schema frame errors"),
    "evaluation": Floor(
        "streamproc.evaluation streamproc.evaluation.*",
        "clutter detection modulation device filters statespace artifact sims schema "
        "frame errors",
    ),
    "models": Floor(
        "streamproc.models streamproc.models.*",
        "evaluation clutter detection modulation device filters artifact statespace "
        "world sims schema frame errors",
    ),
    # GNU Radio's Python runs it, and has nothing of ours.
    "rival": Floor("streamproc.measure.gnuradio_hop", ""),
    "measure": Floor(
        "streamproc.measure streamproc.measure.*",
        "rival embedding runtime config graph kinds node schema frame errors",
    ),
    # The commands that train.
    "training": Floor(
        "streamproc.cli.train streamproc.cli.train_* streamproc.cli.tune_* "
        "streamproc.cli.evaluate_detection streamproc.cli.evaluate_clutter",
        "models evaluation cli artifact schema errors",
    ),
    "cli": Floor(
        "streamproc.cli streamproc.cli.* streamproc.__main__",
        "training measure evaluation artifact runtime config graph kinds node schema "
        "frame door keys confine errors",
    ),
    "public": Floor("streamproc", "embedding node frame errors"),
}

# Packages that few may import, at the top or inside a function.
FOREIGN = {
    "zmq": "streamproc.transport.* streamproc.runtime.worker streamproc.measure.raw",
    "msgpack": "streamproc.wire streamproc.runtime.checkpoint",
    "pylsl": "streamproc.nodes.lsl_place",
    "numba": "streamproc_kernels.cpu.* streamproc.sims.* streamproc.statespace.* "
    "streamproc.filters.* streamproc.clutter.compiled.*",
    "cupy": "streamproc.device streamproc_kernels.gpu.cuda streamproc_kernels.twins",
    "onnxruntime": "streamproc.artifact",
    "torch": "streamproc.models streamproc.models.*",
}

# Who may import by name: the tables, which load a row only when it is used.
TABLES = (
    "streamproc streamproc_kernels streamproc.nodes streamproc.cli "
    "streamproc.statespace"
)


def floor_of(name: str) -> str | None:
    """The floor that a module stands on."""
    return next((f for f, row in FLOORS.items() if matches(name, row.modules)), None)


def imported(module: Module, known: set[str]) -> Iterator[tuple[ast.AST, str]]:
    """Modules that a module imports anywhere in its text, and where."""
    for node in module.all_of(ast.Import, ast.ImportFrom):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield node, inner if inner in known else source


def upward(found: Iterable[Module], known: set[str]) -> Iterator[str]:
    """Imports of a floor that the importer does not know."""
    for module in found:
        own = floor_of(module.name)
        if own is None:
            yield f"{module.place}:1: {module.name} is on no floor; put it in FLOORS"
            continue
        for node, name in imported(module, known):
            target = floor_of(name) if name.partition(".")[0] in PACKAGES else own
            known_floors = FLOORS[own].knows.split()
            if target != own and target not in known_floors:
                yield (
                    f"{module.at(node)}: {own} may not import {name} ({target}); it "
                    f"may: {', '.join(known_floors) or 'nothing of ours'}"
                )


def foreign(found: Iterable[Module]) -> Iterator[str]:
    """Imports of packages that are somebody else's to import."""
    for module in found:
        for node, name in imported(module, set()):
            package = name.partition(".")[0]
            if package in FOREIGN and not matches(module.name, FOREIGN[package]):
                yield (
                    f"{module.at(node)}: {package} is imported in {FOREIGN[package]} "
                    "only; call what they offer"
                )


def hidden(found: Iterable[Module]) -> Iterator[str]:
    """Imports that the other rules cannot see."""
    for module in found:
        for node in module.all_of(ast.Call):
            name = called(node).rpartition(".")[2]
            if name == "__import__" or (
                name == "import_module" and not matches(module.name, TABLES)
            ):
                yield f"{module.at(node)}: import it by its name; only tables may not"
        for node in module.all_of(ast.ImportFrom):
            if isinstance(node, ast.ImportFrom) and node.level:
                yield f"{module.at(node)}: import it by its whole name"


def test_imports_point_downward() -> None:
    found = modules(PACKAGES)
    told(upward(found, {module.name for module in found}))


def test_zmq_torch_and_their_like_are_imported_where_they_belong() -> None:
    told(foreign(modules(PACKAGES)))


def test_no_import_hides() -> None:
    told(hidden(modules(PACKAGES)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("streamproc.cellar", ""),
        ("streamproc.frame", "from streamproc.node import Node"),
        ("streamproc.node", "from streamproc import wire"),
        ("streamproc.nodes.ekf", "def f():\n    from streamproc_kernels import pick"),
        ("streamproc.nodes.ekf", "import streamproc.sims.lorenz"),
        ("streamproc.runtime.worker", "from streamproc.nodes.ekf import Ekf"),
        ("streamproc.nodes.udp_source", "from streamproc.transport.plain import x"),
        ("streamproc.sims.isi", "from streamproc_kernels.ref.bcjr import bcjr"),
        ("streamproc.transport.protocol", "from streamproc.frame import Frame"),
        ("streamproc.cli.run", "import streamproc.models.train"),
        ("streamproc_kernels.cpu.svt", "import streamproc_kernels.gpu.svt"),
        ("streamproc_kernels.ref.svt", "from streamproc.frame import Frame"),
    ],
)
def test_an_upward_import_is_caught(name: str, text: str) -> None:
    known = {"streamproc.wire"}
    assert list(upward([planted(text, name)], known))


@pytest.mark.parametrize("package", FOREIGN)
def test_a_foreign_import_is_caught(package: str) -> None:
    plant = planted(f"def f():\n    import {package}.part", "streamproc.graph.build")
    assert list(foreign([plant]))


@pytest.mark.parametrize(
    "text", ["import importlib\nimportlib.import_module('zmq')", "from . import wire"]
)
def test_a_hidden_import_is_caught(text: str) -> None:
    assert list(hidden([planted(text)]))
