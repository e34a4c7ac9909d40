"""Log lines: for a person, for a program, for the journal; and never two in one."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from streamproc import cli
from streamproc.cli.log import Log, log_of
from streamproc.errors import ConfigError
from streamproc.runtime.said import Said

EVIL = 'a "b"\n\x1b[2J\x9b31m=\\'
DIED = Said("died", worker="tracker", by=EVIL, restart=1)
GRAPH = """
[graph]
name = "small"
edges = ["scene:observation -> tracker"]
[nodes.scene]
kind = "scene.lorenz"
rate_hz = 500
[nodes.tracker]
kind = "identity"
"""


@pytest.fixture
def said(capsys):
    def of(form, text=DIED, level="warn", least=""):
        log = Log(form, least)
        log.graph = "lorenz"
        log(level, text)
        return capsys.readouterr().err

    return of


def test_a_line_for_a_person(said):
    line = said("text")
    assert line.count("\n") == 1 and line[:-1].isprintable()
    assert "Z WARN  died worker=tracker by=a " in line and line.endswith("restart=1\n")


def test_a_line_of_json(said):
    line = said("json")
    assert line.count("\n") == 1 and line[:-1].isprintable()
    told = json.loads(line)
    assert told.pop("time").endswith("Z")
    assert told == {
        "level": "warn",
        "graph": "lorenz",
        "event": "died",
        "worker": "tracker",
        "by": EVIL,
        "restart": 1,
    }
    assert json.loads(said("json", "plain words"))["text"] == "plain words"


def test_a_line_of_pairs(said):
    line = said("logfmt")
    assert line.count("\n") == 1 and line[:-1].isprintable()
    pairs = dict(word.split("=", 1) for word in shlex.split(line.replace("\\u", "u")))
    assert (pairs["event"], pairs["restart"], pairs["level"]) == ("died", "1", "warn")
    assert 'by="a \\"b\\"' in line


def test_a_line_for_the_journal_has_a_level_and_no_time(said):
    start = "<4>graph=lorenz event=died worker=tracker by="
    assert said("journal").startswith(start)
    assert said("journal", "words", "error").startswith("<3>")


def test_what_systemd_calls_its_journal_gets_lines_for_it(monkeypatch, tmp_path):
    with open(tmp_path / "err", "w") as err:
        monkeypatch.setattr(sys, "stderr", err)
        about = os.fstat(err.fileno())
        for told, form in (
            (f"{about.st_dev}:{about.st_ino}", "journal"),
            (f"{about.st_dev}:{about.st_ino + 1}", "text"),
        ):
            monkeypatch.setenv("JOURNAL_STREAM", told)
            assert Log().form == form


def test_less_is_said_from_a_level_on(said, monkeypatch):
    assert said("json", least="warn") and not said("json", level="info", least="warn")
    monkeypatch.setenv("STREAMPROC_LOG_LEVEL", "error")
    assert not said("json") and said("json", level="error")


def test_forms_that_are_not_known_are_refused(monkeypatch, capsys):
    monkeypatch.setenv("STREAMPROC_LOG", "xml")
    with pytest.raises(ConfigError, match=r"STREAMPROC_LOG: expected one of .*'xml'"):
        Log()
    assert cli.main(["run", "nothing.toml"]) == cli.REFUSED
    assert capsys.readouterr().err.startswith("STREAMPROC_LOG: expected")
    assert log_of(["run", "x", "--log=json"]).form == "json"
    assert log_of(["run", "x", "--log", "logfmt"]).form == "logfmt"


def test_a_refusal_is_a_line_of_the_same_form(capsys):
    assert cli.main(["run", "nothing.toml", "--log", "json"]) == cli.REFUSED
    told = json.loads(capsys.readouterr().err)
    assert told["event"] == "refused" and "nothing.toml" in told["cause"]


def test_a_run_says_in_json_who_died_of_what(tmp_path):
    (tmp_path / "graph.toml").write_text(GRAPH)
    words = ("run", "graph.toml", "--log", "json", "--json")
    process = subprocess.Popen(
        [sys.executable, "-m", "streamproc", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        os.kill(_worker(process.pid, "tracker"), signal.SIGKILL)
        lines = [json.loads(process.stderr.readline()) for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=30)
    finally:
        process.kill()
    lines += [json.loads(line) for line in rest.splitlines()]
    died = next(line for line in lines if line["event"] == "died")
    assert (died["graph"], died["worker"]) == ("small", "tracker")
    assert died["by"] == "SIGKILL" and died["level"] == "warn"
    assert [line["worker"] for line in lines if line["event"] == "restarted"]


def _worker(supervisor, name):
    """The pid of a worker, once it has its name."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        rows = subprocess.run(
            ["ps", "-eo", "pid,ppid,comm"], capture_output=True, text=True, check=True
        ).stdout.splitlines()[1:]
        found = [line.split(None, 2) for line in rows]
        spares = {pid for pid, parent, _ in found if parent == str(supervisor)}
        for pid, parent, comm in found:
            if parent in spares and comm == name:
                time.sleep(1.0)  # for all of them to be ready
                return int(pid)
        time.sleep(0.1)
    raise AssertionError(f"no worker {name}")


def test_what_a_stranger_has_a_say_in_does_not_reach_the_terminal(capsys, monkeypatch):
    evil = "stream evil\x1b]0;pwned\x07\nseen"
    monkeypatch.setenv("STREAMPROC_LOG", "text")
    Log("text").error(evil, refused=True)
    assert capsys.readouterr().err == "stream evil?]0;pwned??seen\n"
    assert cli.main([f"bench\x1b[2J{evil}"]) == cli.REFUSED
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said[:-1].isprintable()

    def broken(words):
        raise ConfigError(evil)

    monkeypatch.setattr(cli, "_run", broken)
    for words in (["run"], ["run", "--log", "nonsense"]):
        assert cli.main(words) == cli.REFUSED
        said = capsys.readouterr().err
        assert said == "stream evil?]0;pwned??seen\n"
