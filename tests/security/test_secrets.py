"""S12: a planted secret key is in nothing that leaves the folder it was made in.

What commands, logs, plans and state folders say is looked at beside the keys
(test_keys, test_curve); here is what the machine sees of a run: command lines,
environments, what the service manager is told, units, and every file written.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from streamproc import cli

ROOT = Path(__file__).parents[2]
GRAPH = """
[graph]
name = "far"
edges = ["count -> sum -> rec"]
keys = "keys"
[nodes.count]
kind = "tests.runtime.recorder:Count"
frames = 100000
size = 20
rate_hz = 300
host = "0.0.0.0"
[nodes.sum]
kind = "tests.runtime.recorder:Sum"
host = "0.0.0.0"
on_error = "restart"
[nodes.rec]
kind = "tests.runtime.recorder:Recorder"
path = "rec"
"""


def forms(secret: str) -> list[bytes]:
    """A key as it might be written."""
    zmq_utils = pytest.importorskip("zmq.utils.z85")
    raw = zmq_utils.decode(secret)
    return [secret.encode(), raw, raw.hex().encode(), base64.b64encode(raw)]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """A graph with keys in the working folder, and the forms of its secrets."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "far.toml").write_text(GRAPH)
    for words in (["make", "keys"], ["rotate", "keys"]):
        assert cli.main(["keys", *words]) == cli.DONE
    found = [Path("keys") / name for name in ("secret", "previous")]
    secrets = [path.read_text().split()[1] for path in found]
    assert len(set(secrets)) == 2
    return [form for secret in secrets for form in forms(secret)]


def seen(pid: int) -> bytes:
    """What anybody may see of a process and its children, and its owner of it."""
    text = b""
    for task in [pid, *children(pid)]:
        for part in ("cmdline", "environ", "comm"):
            with suppress(OSError):
                text += Path(f"/proc/{task}/{part}").read_bytes()
    return text


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()]


def written(folder: Path) -> bytes:
    """Every file below a folder but the keys themselves."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return b"".join(p.read_bytes() for p in found if "keys" not in p.parts)


def test_the_machine_sees_no_secret_of_a_run(
    tmp_path: Path, planted: list[bytes]
) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(60)
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    run = subprocess.Popen(
        [
            *(sys.executable, "-m", "streamproc"),
            *("run", "far.toml", "--state", "state", "--json"),
        ],
        env={
            **os.environ,
            "PYTHONPATH": path,
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        told = b""
        while b"READY=1" not in told:
            told += manager.recv(4096)
        for child in children(run.pid)[:3]:  # what is said of a death, too
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            time.sleep(0.3)
        text = seen(run.pid)
        run.send_signal(signal.SIGTERM)
        out, err = run.communicate(timeout=60)
        manager.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                told += manager.recv(4096)
    finally:
        run.kill()
        manager.close()
    assert run.returncode == 0, err[-2000:]
    assert json.loads(out)["nodes"] and b"died" in err and b"STATUS=" in told
    assert (tmp_path / "rec").stat().st_size and b"streamproc" in text
    for secret in planted:
        for where in (text, told, out, err, written(tmp_path)):
            assert secret not in where


def test_no_unit_holds_a_secret(
    tmp_path: Path, planted: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["deploy", "systemd", "far.toml", "--allow", "10.0.0.0/8", "--json"]
    assert cli.main([*words, "--program", "/usr/bin/env"]) == cli.DONE
    unit = (tmp_path / "streamproc-far.service").read_bytes()
    assert b"LimitCORE=0" in unit, "a core file holds all that a process knew"
    said = capsys.readouterr()
    for secret in planted:
        assert secret not in unit + (said.out + said.err).encode()


CRASH = """
import os, resource
from pathlib import Path
from streamproc import keys
_, most = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (most, most))
def left_a_core(read):
    child = os.fork()
    if not child:
        if read: keys.read_pair(Path("keys"))
        os.abort()
    return os.WCOREDUMP(os.waitpid(child, 0)[1])
print(left_a_core(False), left_a_core(True))
"""


def test_who_has_read_a_secret_leaves_no_core(
    tmp_path: Path, planted: list[bytes]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASH],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    before, after = done.stdout.split()
    assert after == "False"
    if before == "False":
        pytest.skip("CORES NOT TRIED: this machine keeps none")


def test_a_planted_secret_is_found_where_it_is(planted: list[bytes]) -> None:
    kept = b"".join((Path("keys") / n).read_bytes() for n in ("secret", "previous"))
    assert sum(secret in kept for secret in planted) == 2
