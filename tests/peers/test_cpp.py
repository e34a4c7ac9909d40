"""deploy/clients/cpp: a C++ program and the daemon agree, to the bit."""

from __future__ import annotations

import ctypes.util
import math
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from streamproc import wire
from streamproc.errors import WireError
from streamproc.frame import DTYPES
from tests.runtime.conftest import Run, run_graph

from . import tracking

__all__ = ["run_graph"]  # a fixture

FLAGS, LIBRARIES = ["-std=c++17"], ["-lzmq", "-pthread"]
WINDOW = 256  # of track.cpp
GPP = shutil.which("g++")
HEADER = any(
    (Path(folder) / "zmq.hpp").exists()
    for folder in ("/usr/include", "/usr/local/include")
)
pytestmark = pytest.mark.skipif(
    not (GPP and HEADER and ctypes.util.find_library("zmq")),
    reason="needs g++, libzmq and zmq.hpp: apt-get install g++ cppzmq-dev",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths of the programs, compiled without a warning of ours."""
    folder = tmp_path_factory.mktemp("cpp")
    cpp = tracking.CLIENTS / "cpp"
    sources = [cpp / "track.cpp", cpp / "live.cpp", Path(__file__).parent]
    sources[2] = sources[2] / "wire_check.cpp"
    made = {}
    for source in sources:
        made[source.stem] = str(folder / source.stem)
        flags = [*FLAGS, "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{cpp}"]
        said = subprocess.run(
            ["g++", *flags, str(source), "-o", made[source.stem], *LIBRARIES],
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert said.returncode == 0, said.stderr
    return made


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", tracking.TRACKERS)
def test_a_program_loses_no_frame_and_reads_the_bytes_of_an_embedded_node(
    built: dict[str, str], tmp_path: Path, kind: str
) -> None:
    said = tracking.track(tmp_path, [built["track"]], kind)
    print(f"C++, {kind}: {said}", end="")


def test_the_readme_program_runs(built: dict[str, str], tmp_path: Path) -> None:
    text = (tracking.CLIENTS / "cpp/live.cpp").read_text()
    graph, into, out = tracking.tracker(tmp_path, quick=True)
    mine = tmp_path / "live.cpp"
    for usual, end in (("tcp://127.0.0.1:5555", into), ("tcp://127.0.0.1:5556", out)):
        text = text.replace(usual, end)
    mine.write_text(text)
    flags = [*FLAGS, f"-I{tracking.CLIENTS / 'cpp'}"]
    made = str(tmp_path / "live")
    tracking.client(["g++", *flags, str(mine), "-o", made, *LIBRARIES])
    with tracking.daemon(graph):
        said = tracking.client([made])
    assert len(said.splitlines()) == 1000


def test_an_estimate_that_comes_again_is_counted_and_left_out(
    built: dict[str, str], tmp_path: Path
) -> None:
    assert "again 199\n" in tracking.doubled(tmp_path, [built["track"]])


def test_bools_are_refused_by_the_compiler_with_the_cure(tmp_path: Path) -> None:
    mine = tmp_path / "bools.cpp"
    asks = "std::vector<bool> f(streamproc::Frame& g) { return g.get<bool>(); }"
    mine.write_text(f'#include "streamproc.hpp"\n{asks}\n')
    flags = [*FLAGS, "-fsyntax-only", f"-I{tracking.CLIENTS / 'cpp'}"]
    with pytest.raises(AssertionError, match="read b1 of `parts`"):
        tracking.client(["g++", *flags, str(mine)])


def test_what_a_kill_of_the_source_loses_is_counted(
    built: dict[str, str], tmp_path: Path, run_graph: Callable[..., Run]
) -> None:
    """Plain ZeroMQ has no acks: the sockets of the dead are gone, which is told."""
    count = 30_000
    (tmp_path / "seen.f8").write_bytes(tracking.observations(count).tobytes())
    graph, into, out = tracking.tracker(tmp_path, quick=True)
    run = run_graph(graph.read_text())
    while not all(post.ready for post in run.supervisor.posts.values()):
        time.sleep(0.01)
    files = [str(tmp_path / "seen.f8"), str(tmp_path / "made")]
    command = [built["track"], into, out, "3", *files, "3000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        run.wait_for_frames(2000)
        run.kill("observations")
        said = program.communicate(timeout=100)[0]
    run.supervisor.stop()
    arrived = run.join()["nodes"]["observations"]["frames"]
    assert count - WINDOW <= arrived <= count
    assert f"sent {count}, read {arrived}," in said
    assert "gaps 1\n" in said
    assert program.returncode == int(arrived < count)


def headers(count: int) -> Iterator[bytes]:
    """Headers as clients write them, most of them spoilt at a few places."""
    rng = random.Random(5)
    fair = [[3], [], [2, 3], [0, 4]]
    metas = [None, {}, {"gain": 1.5, "who": ["a", {"b": None}], "raw": b"\x00"}]
    shapes = [*fair * 3, [1] * 9, [1 << 30, 2], [1 << 40], [-1]]
    for _ in range(count):
        names = rng.sample(["data", "x", "Größe", "P" * 256, ""], rng.choice([1, 1, 2]))
        codes = ["f8", "f4", "c16", "b1", "i2", "i2", "u1", "O"]
        arrays = [[n, rng.choice(codes), rng.choice(shapes)] for n in names]
        numbers = [
            rng.choice([None, 0, 127, 128, 1 << 40, (1 << 63) - 1]) for _ in range(3)
        ]
        flags = rng.choice([0, 2, 200, 255])
        head = [1, rng.choice(["a", "ä" * 40]), *numbers, flags, arrays]
        spoilt = bytearray(msgpack.packb([*head, rng.choice(metas)]))
        for _ in range(rng.choice([0, 0, 1, 1, 2, 4])):
            spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        yield bytes(spoilt[: rng.choice([*[None] * 9, rng.randrange(60)])])


def as_the_daemon_reads(head: bytes) -> list[Any] | None:
    """The fields of a header, None if the daemon refuses it."""
    try:
        fields = msgpack.unpackb(head, max_ext_len=0)
        wire.decode_plain([head, *map(announced, fields[6])], 0, 0)
    except (WireError, ValueError, TypeError, LookupError, msgpack.UnpackException):
        return None
    return list(fields) if type(fields[0]) is int else None  # True == 1 in Python only


def announced(entry: Any) -> bytes:
    """A part as large as an array is said to be; of what is no array, an empty one."""
    try:
        _, code, shape = entry
        return bytes(min(math.prod(shape) * DTYPES[code].itemsize, 1 << 12))
    except (TypeError, ValueError, LookupError, OverflowError):
        return b""


def is_large(line: bytes) -> bool:
    arrays = msgpack.unpackb(bytes.fromhex(line.decode()))[6]
    return any(math.prod(shape) > 1 << 8 for _, _, shape in arrays)


def test_its_decoder_takes_and_refuses_what_the_daemon_does(
    built: dict[str, str],
) -> None:
    heads = list(headers(20_000))
    told = subprocess.run(
        [built["wire_check"]],
        input=b"".join(struct.pack("<I", len(head)) + head for head in heads),
        capture_output=True,
        timeout=60,
        check=True,
    ).stdout.split()
    taken = 0
    for head, line in zip(heads, told, strict=True):
        wanted = as_the_daemon_reads(head)
        if wanted is None and line != b"refused" and is_large(line):
            continue  # nothing is wrong with the header, and nobody made its samples
        if wanted is None:
            assert line == b"refused", head
        else:
            assert line != b"refused", (head, wanted)
            assert msgpack.unpackb(bytes.fromhex(line.decode())) == wanted
        taken += wanted is not None
    assert 2000 < taken < 18_000
