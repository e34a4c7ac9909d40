"""doctor: each finding says ok, note or missing, and missing ones say the cure."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from streamproc.cli import machine, main, probes

ROOT = Path(__file__).parents[2]


def test_doctor_has_a_line_for_everything(capsys):
    code = main(["doctor", "--json"])
    said = capsys.readouterr()
    findings = json.loads(said.out)
    assert said.err == ""
    assert {found["status"] for found in findings} <= {"ok", "note", "missing"}
    assert code == any(found["status"] == "missing" for found in findings)
    names = [found["name"] for found in findings]
    assert len(set(names)) == len(names)
    assert {"python", "numba", "zeromq", "gpu", "clock", "loopback"} <= set(names)


def test_doctor_prints_one_line_each_and_a_verdict(capsys):
    main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert all(re.match(r"(ok|note|missing) ", line) for line in lines[:-1])
    assert re.match(r"(ok|missing): ", lines[-1])


def test_doctor_exits_1_if_something_needed_is_missing(monkeypatch, capsys):
    nothing = probes.Finding("missing", "zeromq", "none", "pip install pyzmq")
    monkeypatch.setattr(probes, "zeromq", lambda: nothing)
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "missing zeromq          none; pip install pyzmq\n" in text


def test_dependencies_are_those_of_the_project_file():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for asked in probes.DEPENDENCIES:
        where = extras[asked.extra] if asked.extra else project["dependencies"]
        stem = asked.distributions[0]
        pattern = rf"{re.escape(stem)}(\[\w+\])?>={re.escape(asked.least)}(,|;|$)"
        assert any(re.match(pattern, wanted) for wanted in where), asked
    least = ".".join(map(str, probes.LEAST_PYTHON))
    assert project["requires-python"] == f">={least}"


@pytest.mark.parametrize(
    ("installed", "status", "cure"),
    [
        ({}, "missing", "pip install 'numba>=0.61.2'"),
        ({"numba": "0.59.1"}, "missing", "pip install 'numba>=0.61.2'"),
        ({"numba": "0.61.2"}, "ok", ""),
        ({"numba": "0.70.0rc1+local.9"}, "ok", ""),
    ],
)
def test_a_missing_or_old_dependency_is_said_with_the_cure(
    installed, status, cure, monkeypatch
):
    fake(monkeypatch, installed)
    found = next(f for f in probes.dependencies() if f.name == "numba")
    assert (found.status, found.cure) == (status, cure)


def test_what_only_an_extra_needs_is_a_note(monkeypatch):
    fake(monkeypatch, {})
    found = next(f for f in probes.dependencies() if f.name == "torch")
    assert (found.status, found.cure) == ("note", "pip install 'streamproc[train]'")
    assert "only for training" in found.value


def test_either_onnxruntime_will_do(monkeypatch):
    fake(monkeypatch, {"onnxruntime": "1.25.0"})
    found = next(f for f in probes.dependencies() if f.name == "onnxruntime")
    assert found.status == "ok"


def fake(monkeypatch, installed):
    def version(name):
        if name in installed:
            return installed[name]
        raise PackageNotFoundError(name)

    monkeypatch.setattr(probes, "version", version)


def test_a_zeromq_that_does_not_load_ends_in_its_own_process(monkeypatch):
    monkeypatch.setattr(probes, "PROBE_ZMQ", "import os; os.abort()")
    assert probes.zeromq().status == "missing"


def test_a_zeromq_without_curve_is_a_note(monkeypatch):
    monkeypatch.setattr(probes, "PROBE_ZMQ", "print('[\"4.3.5\", true, false]')")
    assert probes.zeromq()[:3] == ("note", "zeromq", "4.3.5, ipc yes, curve no")


def test_no_driver_is_a_note_and_prints_nothing(monkeypatch, capfd):
    def absent(name):
        raise OSError(name)

    monkeypatch.setattr(machine.ctypes, "CDLL", absent)
    assert machine.gpu().status == "note"
    assert capfd.readouterr() == ("", "")


def test_a_driver_without_gpu_is_a_note(monkeypatch):
    class Cuda:
        def __getattr__(self, name):
            return lambda *_: 100

    monkeypatch.setattr(machine.ctypes, "CDLL", lambda _: Cuda())
    assert machine.gpu().value == "a driver, but no usable GPU"


@pytest.mark.parametrize("probe", [machine.run_folder, machine.numba_cache])
def test_a_folder_that_cannot_be_written_is_missing(probe, monkeypatch):
    monkeypatch.setattr(machine.tempfile, "gettempdir", lambda: "/tmp")
    assert probe().status == "ok"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert probe().status == "missing"


def test_a_run_folder_whose_path_is_too_long_for_sockets_is_missing(monkeypatch):
    monkeypatch.setattr(machine, "run_base", lambda: None)
    monkeypatch.setattr(machine.tempfile, "gettempdir", lambda: "/tmp/" + "a" * 60)
    assert "set TMPDIR" in machine.run_folder().cure


def test_no_folder_for_temporary_files_is_missing(monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(machine, "run_base", lambda: None)
    monkeypatch.setattr(machine.tempfile, "gettempdir", none)
    assert machine.run_folder().status == "missing"


def test_little_shared_memory_is_a_note(monkeypatch):
    if not machine.SHARED.is_dir():
        pytest.skip(f"no {machine.SHARED} here")
    monkeypatch.setattr(machine, "LEAST_SHARED_MIB", 10**12)
    assert "--shm-size" in machine.shared_memory().cure


def test_a_container_limit_is_the_memory_there_is(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    limit.write_text(f"{300 * 2**20}\n")
    monkeypatch.setattr(machine, "MEMORY_LIMIT", limit)
    assert machine.memory()[:3] == ("note", "memory", "300 MiB")
    limit.write_text("max\n")
    assert machine.memory().value != "300 MiB"


def test_an_interpreter_that_cannot_start_is_a_missing_zeromq(monkeypatch):
    def broken(*_args, **_kwargs):
        raise subprocess.TimeoutExpired("python", 30)

    monkeypatch.setattr(probes.subprocess, "run", broken)
    assert probes.zeromq().status == "missing"
