"""Software findings for `doctor`: versions and features, without loading libraries."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """One line of the report. note: fine without; missing: will not run without."""

    status: Literal["ok", "note", "missing"]
    name: str
    value: str
    cure: str = ""


class Dependency(NamedTuple):
    """distributions: any of these will do. extra: empty for what is always needed."""

    name: str
    distributions: tuple[str, ...]
    least: str
    extra: str = ""
    purpose: str = ""


DEPENDENCIES = (
    Dependency("numpy", ("numpy",), "2.0"),
    Dependency("scipy", ("scipy",), "1.11"),
    Dependency("numba", ("numba",), "0.61.2"),
    Dependency("pyzmq", ("pyzmq",), "26.2"),
    Dependency("msgpack", ("msgpack",), "1.2.1"),
    Dependency("onnxruntime", ("onnxruntime-gpu", "onnxruntime"), "1.23.2"),
    Dependency("cupy", ("cupy-cuda13x", "cupy-cuda12x"), "14", "gpu", "GPU kernels"),
    Dependency("torch", ("torch",), "2.9", "train", "training"),
    Dependency("onnx", ("onnx",), "1.21", "train", "exporting models"),
    Dependency("matplotlib", ("matplotlib",), "3.9", "ui", "pictures"),
    Dependency("pylsl", ("pylsl",), "1.18", "lsl", "Lab Streaming Layer"),
)
LEAST_PYTHON = (3, 11)
PROBE_ZMQ = (
    "import json, zmq; print(json.dumps([zmq.zmq_version(), "
    "bool(zmq.has('ipc')), bool(zmq.has('curve'))]))"
)


def python() -> Finding:
    """The interpreter's version."""
    found = platform.python_version()
    if sys.version_info >= LEAST_PYTHON:
        return Finding("ok", "python", found)
    least = ".".join(map(str, LEAST_PYTHON))
    return Finding("missing", "python", found, f"install Python {least} or newer")


def dependencies() -> Iterator[Finding]:
    """Versions as installed, read from metadata."""
    yield from map(_dependency, DEPENDENCIES)


def _dependency(asked: Dependency) -> Finding:
    status: Literal["note", "missing"] = "note" if asked.extra else "missing"
    wanted = f"'{asked.distributions[0]}>={asked.least}'"
    if asked.extra:
        wanted = f"'streamproc[{asked.extra}]'"
    cure = f"pip install {wanted}"
    for distribution in asked.distributions:
        try:
            found = version(distribution)
        except PackageNotFoundError:
            continue
        if _numbers(found) >= _numbers(asked.least):
            return Finding("ok", asked.name, found)
        return Finding(status, asked.name, f"{found}, older than {asked.least}", cure)
    absent = f"not installed; only for {asked.purpose}" if asked.extra else "none"
    return Finding(status, asked.name, absent, cure)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text.partition("+")[0])[:3]))


def zeromq() -> Finding:
    """libzmq, asked in a process of its own: a broken one ends there, not here."""
    try:
        answer = subprocess.run(
            [sys.executable, "-c", PROBE_ZMQ],
            capture_output=True,
            check=True,
            timeout=30,
        )
        found, ipc, curve = json.loads(answer.stdout)
    except (subprocess.SubprocessError, OSError, ValueError):
        cure = "pip install --force-reinstall pyzmq"
        return Finding("missing", "zeromq", "does not load", cure)
    value = f"{found}, ipc {_yes(ipc)}, curve {_yes(curve)}"
    if not ipc:
        return Finding("missing", "zeromq", value, "use pyzmq's own wheel")
    if not curve:
        return Finding("note", "zeromq", value, "no edges beyond loopback without it")
    return Finding("ok", "zeromq", value)


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"
