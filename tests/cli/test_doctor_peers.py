"""doctor on what stands around: what is not there is a note, with how to get it."""

from __future__ import annotations

import fcntl
import resource
import shutil

import pytest

from streamproc.cli import peers


@pytest.mark.parametrize(
    ("probe", "cure"),
    [
        (peers.cpp_client, "apt install g++ cppzmq-dev"),
        (peers.octave, "apt install octave octave-zeromq"),
        (peers.gnuradio, "apt install gnuradio"),
    ],
)
def test_a_program_that_is_not_there_is_a_note(probe, cure, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(peers, "INCLUDE", tmp_path)
    assert (probe().status, probe().cure) == ("note", cure)
    assert "only for" in probe().value


def test_programs_that_are_there_are_ok(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(peers, "OCTAVE_PACKAGES", (tmp_path,))
    monkeypatch.setattr(peers, "INCLUDE", tmp_path)
    assert "without its package" in peers.octave().value
    (tmp_path / "zeromq-1.5.6").mkdir()
    (tmp_path / "zmq.h").touch()
    (tmp_path / "zmq.hpp").touch()
    found = [peers.octave(), peers.gnuradio(), peers.cpp_client()]
    assert [one.status for one in found] == ["ok"] * 3


def test_systemd_is_asked_for_by_the_folder_it_runs_with(monkeypatch, tmp_path):
    monkeypatch.setattr(peers, "SYSTEMD", tmp_path)
    assert peers.systemd().status == "ok"
    monkeypatch.setattr(peers, "SYSTEMD", tmp_path / "none")
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/systemctl")
    assert peers.systemd().value == "installed, but does not run here"


def test_few_open_files_are_a_note(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    assert peers.open_files()[:4] == (
        "note",
        "open files",
        "only 256",
        "ulimit -n 4096",
    )
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    assert peers.open_files().status == "ok"


def test_a_slow_clock_is_a_note_that_names_a_better_one(monkeypatch, tmp_path):
    monkeypatch.setattr(peers, "CLOCKS", tmp_path)
    assert peers.clock_source().status == "ok", "nothing is known"
    (tmp_path / "available_clocksource").write_text("tsc hpet\n")
    (tmp_path / "current_clocksource").write_text("hpet\n")
    assert "echo tsc > " in peers.clock_source().cure
    (tmp_path / "current_clocksource").write_text("tsc\n")
    assert peers.clock_source()[:3] == ("ok", "clock source", "tsc")


@pytest.mark.parametrize(
    ("state", "status"), [(0, "ok"), (peers.TIME_ERROR, "note"), (-1, "note")]
)
def test_a_clock_that_nobody_sets_is_a_note(monkeypatch, state, status):
    class Libc:
        @staticmethod
        def adjtimex(_):
            return state

    monkeypatch.setattr(peers.ctypes, "CDLL", lambda _: Libc)
    assert peers.time_of_day().status == status


def test_cores_that_save_power_are_a_note(monkeypatch, tmp_path):
    monkeypatch.setattr(peers, "CPUFREQ", tmp_path)
    assert peers.frequency().status == "ok", "in a virtual machine"
    (tmp_path / "scaling_governor").write_text("powersave\n")
    assert "performance" in peers.frequency().cure


def test_no_headers_are_a_note(monkeypatch, tmp_path):
    monkeypatch.setattr(
        peers.sysconfig, "get_paths", lambda: {"include": str(tmp_path)}
    )
    assert peers.headers().cure == "apt install python3-dev"
    (tmp_path / "Python.h").touch()
    assert peers.headers().status == "ok"


def test_a_folder_without_locks_is_missing_something(monkeypatch):
    def refused(*_):
        raise OSError(37, "No locks available")

    assert peers.file_locks().status == "ok"
    monkeypatch.setattr(fcntl, "flock", refused)
    assert peers.file_locks().status == "missing"
