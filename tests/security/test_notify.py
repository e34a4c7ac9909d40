"""What the service manager hears: ready, strokes while all is well, stopping."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from streamproc.notify import STROKES, Notifier, hidden

ROOT = Path(__file__).parents[2]
GRAPH = """
[graph]
edges = ["scene:truth -> rest", "scene:observation -> screen"]
[nodes.scene]
kind = "scene.lorenz"
rate_hz = 200
[nodes.rest]
kind = "identity"
[nodes.screen]
kind = "identity"
"""


class Manager:
    """A service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address[0] == "@" else address)
        self.socket.setblocking(False)

    def environment(self, watchdog_s: float = 0) -> dict[str, str]:
        watch = {"WATCHDOG_USEC": str(int(watchdog_s * 1e6))} if watchdog_s else {}
        return {"NOTIFY_SOCKET": self.address, **watch}

    def heard(self) -> list[str]:
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(self.socket.recv(4096).decode())
        return found

    def wait_for(self, word: str, within_s: float) -> list[str]:
        """All that is said until a word is. Fails if it is not."""
        found: list[str] = []
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            found += self.heard()
            if word in found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"{word} was not said within {within_s} s: {found[-5:]}")


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = str(tmp_path / "notify")
    made = Manager(path if request.param == "path" else f"@streamproc{os.getpid()}")
    yield made
    made.socket.close()


def test_each_word_is_said_once_and_in_order(manager: Manager) -> None:
    notifier = Notifier(manager.environment())
    for _ in range(3):
        notifier.tend(running=False, well=True)
    assert manager.heard() == []
    for _ in range(3):
        notifier.tend(running=True, well=True, status="3 workers")
    for _ in range(3):
        notifier.tend(running=True, well=True, stopping=True)
    assert manager.heard() == ["READY=1", "STATUS=3 workers", "STOPPING=1"]
    notifier.close()
    notifier.close()


def test_the_watchdog_is_stroked_in_time_and_only_while_all_is_well(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    notifier = Notifier(manager.environment(watchdog_s=3))
    assert notifier.watched
    said = []
    for turn in range(300):  # 0.1 s each: 10 s well, 10 s not, 10 s well
        clock[0] += 0.1
        notifier.tend(running=True, well=not 100 <= turn < 200)
        said.append("WATCHDOG=1" in manager.heard())
    well, ill, again = said[:100], said[100:200], said[200:]
    assert not any(ill)
    assert sum(well) == pytest.approx(10 / 3 * STROKES, abs=1)
    assert sum(again) == pytest.approx(10 / 3 * STROKES, abs=1) and again[0]


def test_another_process_or_none_is_not_stroked_for(manager: Manager) -> None:
    watched = manager.environment(watchdog_s=1)
    assert not Notifier({**watched, "WATCHDOG_PID": str(os.getpid() + 1)}).watched
    assert Notifier({**watched, "WATCHDOG_PID": str(os.getpid())}).watched
    for period in ("", "0", "-1", "soon"):
        assert not Notifier({**watched, "WATCHDOG_USEC": period}).watched


def test_what_a_manager_that_is_behind_could_not_take_is_said_again(
    manager: Manager,
) -> None:
    crowd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    crowd.setblocking(False)
    name = manager.address
    with crowd, suppress(BlockingIOError):
        while True:
            crowd.sendto(b"x", "\0" + name[1:] if name[0] == "@" else name)
    notifier = Notifier(manager.environment(watchdog_s=1))
    notifier.tend(running=True, well=True, status="1 frame")
    assert set(manager.heard()) == {"x"}, "there was no room"
    notifier.tend(running=True, well=True, status="2 frames")
    assert manager.heard() == ["READY=1", "WATCHDOG=1", "STATUS=2 frames"]


@pytest.mark.parametrize(
    "address", ["", "relative", "/nowhere/at/all", "/" + "x" * 300]
)
def test_nobody_who_listens_is_no_harm(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000"})
    notifier.tend(running=True, well=True, stopping=True, status="x")


def test_a_manager_that_does_not_read_does_not_hold_us_up(manager: Manager) -> None:
    notifier = Notifier(manager.environment())
    for number in range(2000):  # far more than the queue of the socket holds
        notifier.status(f"turn {number}")
    assert 0 < len(manager.heard()) < 2000


def test_a_status_cannot_say_another_word(manager: Manager) -> None:
    Notifier(manager.environment()).status("fine\nSTOPPING=1\0" + "x" * 500)
    (said,) = manager.heard()
    assert "\n" not in said and "\0" not in said and len(said) < 250


def test_a_child_is_not_told_whom_to_tell() -> None:
    found = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "2", "A": "b"}
    assert hidden(found) == {"A": "b"}


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()]


def test_a_run_says_how_it_is(tmp_path: Path) -> None:
    """Ready and well while it runs, silent about a hung worker, stopping at the end."""
    (tmp_path / "graph.toml").write_text(GRAPH)
    manager = Manager(str(tmp_path / "notify"))
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    run = subprocess.Popen(
        [sys.executable, "-m", "streamproc", "run", "graph.toml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, **manager.environment(watchdog_s=0.3)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    try:
        manager.wait_for("READY=1", within_s=60)
        manager.wait_for("WATCHDOG=1", within_s=10)
        for child in children(run.pid):
            environment = Path(f"/proc/{child}/environ").read_bytes()
            assert b"NOTIFY_SOCKET" not in environment
        run.send_signal(signal.SIGTERM)
        said = manager.wait_for("STOPPING=1", within_s=10)
        run.communicate(timeout=60)
        assert run.returncode == 0
        said += manager.heard()
        assert said.count("STOPPING=1") == 1 and "READY=1" not in said
    finally:
        run.kill()
        run.communicate()
        manager.socket.close()
