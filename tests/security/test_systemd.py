"""A unit under a real systemd: ready, restarted, watched, drained; no frame is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from streamproc import cli

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("under_systemd.sh")
SYSTEMD = Path("/usr/lib/systemd/systemd")
CGROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
UNIT = "streamproc-zmq"
DATA = f"/var/lib/private/{UNIT}/data/sensor.npy"
PUSH = """
import msgpack, numpy, sys, zmq
context = zmq.Context()
push = context.socket(zmq.PUSH)
push.connect("tcp://127.0.0.1:5555")
for n in range(1000):
    head = [1, "t", None, None, None, 0, [["data", "f8", [3]]], None]
    push.send_multipart([msgpack.packb(head), numpy.full(3, float(n)).tobytes()])
push.close()
context.term()  # or what the service has not taken yet would be gone with this process
"""
READ = f"""
import numpy
print(*numpy.load("{DATA}")[:, 0].astype(int))
"""

Call = Callable[..., str]


def _lacking() -> str:
    """What a systemd of one's own needs and this machine has not."""
    if os.geteuid():
        return "root"
    if not SYSTEMD.is_file() or not shutil.which("nsenter"):
        return "systemd and util-linux"
    if not any((folder / "cgroup.procs").exists() for folder in CGROUPS):
        return "cgroup2"
    words = ["--pid", "--fork", "--mount", "--uts", "--ipc", "--net", "--cgroup"]
    tried = subprocess.run(["unshare", *words, "true"], check=False)
    return "namespaces" if tried.returncode else ""


pytestmark = pytest.mark.skipif(
    bool(_lacking()), reason=f"NO SYSTEMD TO RUN UNITS UNDER: needs {_lacking()}"
)


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Call]:
    """Runs a command beside a systemd that has just started; what it printed."""
    graphs = tmp_path / "graphs" / "zmq"
    graphs.mkdir(parents=True)
    shutil.copy(ROOT / "deploy/graphs/zmq.toml", graphs / "graph.toml")
    words = ("--program", "/opt/streamproc/bin/streamproc")
    wanted = [str(graphs / "graph.toml"), "--out", str(tmp_path / "units"), *words]
    assert cli.main(["deploy", "systemd", *wanted]) == cli.DONE
    cgroup = next(one for one in CGROUPS if (one / "cgroup.procs").exists())
    cgroup = cgroup / f"streamproc-test-{os.getpid()}"
    process = subprocess.Popen(
        [
            *("bash", SCRIPT, cgroup, tmp_path, ROOT, sys.base_prefix),
            sysconfig.get_paths()["purelib"],
        ],
        stderr=subprocess.PIPE,
    )

    def call(*command: str, check: bool = True) -> str:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        first = children.read_text().split()[0]
        done = subprocess.run(
            [
                "nsenter",
                "-t",
                first,
                *["-p", "-m", "-u", "-i", "-n", "-C", "--"],
                *command,
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout.strip()

    try:
        _until(lambda: _runs(process, call))
        call("systemctl", "start", "systemd-journald")
        yield call
    finally:
        process.kill()  # and so does --kill-child with all that it is the parent of
        process.communicate()
        _until(lambda: not _removed(cgroup) or not cgroup.exists())


def _runs(process: subprocess.Popen[bytes], call: Call) -> bool:
    if process.poll() is not None:
        assert process.stderr is not None
        pytest.skip(f"NO SYSTEMD TO RUN UNITS UNDER: {process.stderr.read()[-200:]!r}")
    with suppress(AssertionError, IndexError, OSError):
        return call("systemctl", "is-system-running", check=False) in (
            "running",
            "degraded",
        )
    return False


def _removed(folder: Path) -> bool:
    """Whether something is left of it."""
    for inner in sorted(folder.glob("**/"), reverse=True):
        with suppress(OSError):
            inner.rmdir()
    return folder.exists()


def _until(what: Callable[[], bool], within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.1)


@pytest.mark.timeout(280)
def test_a_unit_lives_and_dies_as_it_says(call: Call) -> None:
    def shown(key: str) -> str:
        return call("systemctl", "show", "-p", key, "--value", UNIT)

    def push(total: int) -> None:
        call("/opt/streamproc/bin/python", "-c", PUSH)
        try:
            _until(lambda: f"{total:,} frames" in shown("StatusText"))
        except AssertionError:
            pytest.fail(f"expected {total} frames, got {shown('StatusText')!r}")

    call("systemctl", "start", UNIT)  # which waits until frames may come
    assert shown("ActiveState") == "active"
    push(1000)
    call("systemctl", "restart", UNIT)
    assert (shown("ActiveState"), shown("Result")) == ("active", "success")
    push(2000)
    call("kill", "-9", shown("MainPID"))
    _until(lambda: shown("NRestarts") == "1" and shown("ActiveState") == "active")
    push(3000)
    call("systemctl", "stop", UNIT)
    assert (shown("Result"), shown("ExecMainStatus")) == ("success", "0")
    told = call("/opt/streamproc/bin/python", "-c", READ).split()
    assert told == [str(n) for n in range(1000)] * 3

    call("systemctl", "start", "--no-block", UNIT)
    _until(lambda: shown("MainPID") != "0")
    time.sleep(0.3)  # it has begun to load
    call("systemctl", "stop", UNIT)
    assert (shown("ActiveState"), shown("Result")) == ("inactive", "success")

    said = call("journalctl", "--no-pager", "-u", UNIT, "-o", "cat")
    assert "zmq: " in said, "the summary"
    call("sed", "-i", "s/zmq.source/zmq.sauce/", "/etc/streamproc/zmq/graph.toml")
    call("systemctl", "start", UNIT, check=False)
    time.sleep(2.5)  # longer than RestartSec
    assert (shown("ActiveState"), shown("ExecMainStatus")) == ("failed", "2")
    assert shown("NRestarts") == "0", "what is refused is not tried again"


@pytest.mark.timeout(280)
def test_the_watchdog_ends_a_supervisor_that_hangs(call: Call) -> None:
    folder = f"/run/systemd/system/{UNIT}.service.d"
    text = r"[Service]\nWatchdogSec=3\n"
    call("bash", "-c", f"mkdir -p {folder}; printf '{text}' > {folder}/soon.conf")
    call("systemctl", "daemon-reload")
    call("systemctl", "start", UNIT)
    first = call("systemctl", "show", "-p", "MainPID", "--value", UNIT)
    call("kill", f"-{int(signal.SIGSTOP)}", first)
    restarts = ("systemctl", "show", "-p", "NRestarts", "--value", UNIT)
    _until(lambda: call(*restarts) == "1")
    _until(lambda: call("systemctl", "is-active", UNIT, check=False) == "active")
    assert call("systemctl", "show", "-p", "MainPID", "--value", UNIT) != first
