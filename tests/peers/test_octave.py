"""deploy/clients/octave: an Octave script and the daemon, to the bit."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import msgpack
import numpy as np
import pytest

from streamproc import wire

from . import tracking
from .test_cpp import as_the_daemon_reads, headers, is_large

FOLDER = tracking.CLIENTS / "octave"
OCTAVE = ["octave-cli", "--quiet", "--norc"]


def has_zeromq() -> bool:
    """Whether Octave and its package zeromq are there."""
    if not shutil.which("octave-cli"):
        return False
    asked = [*OCTAVE, "--eval", "pkg load zeromq"]
    done = subprocess.run(asked, capture_output=True, timeout=60, check=False)
    return done.returncode == 0


pytestmark = pytest.mark.skipif(
    not has_zeromq(),
    reason="needs Octave with zeromq: apt-get install octave octave-zeromq",
)


def octave(script: str) -> str:
    return tracking.client([*OCTAVE, "--eval", f"addpath('{FOLDER}'); {script}"])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", tracking.TRACKERS)
def test_a_script_loses_no_frame_and_reads_the_bytes_of_an_embedded_node(
    tmp_path: Path, kind: str
) -> None:
    said = tracking.track(tmp_path, [*OCTAVE, str(FOLDER / "track.m")], kind)
    print(f"Octave, {kind}: {said}", end="")


def test_an_estimate_that_comes_again_is_counted_and_left_out(tmp_path: Path) -> None:
    said = tracking.doubled(tmp_path, [*OCTAVE, str(FOLDER / "track.m")])
    assert "again 199\n" in said


def test_the_readme_script_runs(tmp_path: Path) -> None:
    graph, into, out = tracking.tracker(tmp_path)
    text = (FOLDER / "live.m").read_text()
    text = text.replace("tcp://127.0.0.1:5555", into).replace(
        "tcp://127.0.0.1:5556", out
    )
    for file in FOLDER.glob("streamproc_*.m"):
        shutil.copy(file, tmp_path)
    (tmp_path / "live.m").write_text(text)
    with tracking.daemon(graph):
        said = tracking.client([*OCTAVE, str(tmp_path / "live.m")])
    assert len(said.splitlines()) == 1000


@pytest.mark.parametrize(
    ("samples", "code", "shape", "numbers"),
    [
        ("[1 2 3]", "f8", [3], [1, 2, 3]),
        ("single(2.5)", "f4", [1], [2.5]),
        ("int16([1 2 3; 4 5 6])", "i2", [2, 3], [1, 2, 3, 4, 5, 6]),
        ("reshape(0:7, 2, 2, 2)", "f8", [2, 2, 2], [0, 4, 2, 6, 1, 5, 3, 7]),
        ("[1+2i, 3-4i]", "c16", [2], [1 + 2j, 3 - 4j]),
        ("[true false]", "b1", [2], [1, 0]),
    ],
)
def test_arrays_travel_both_ways(
    samples: str, code: str, shape: list[int], numbers: list[complex]
) -> None:
    """Through sockets of Octave's own; the bytes are read here as the daemon does."""
    said = octave(
        f"pkg load zeromq; x = {samples}; t = uint64(1700000000123456789);"
        "a = zmq_socket(ZMQ_PULL); zmq_bind(a, 'tcp://127.0.0.1:*');"
        "b = zmq_socket(ZMQ_PUSH);"
        "zmq_connect(b, strtrim(zmq_getsockopt(a, ZMQ_LAST_ENDPOINT)));"
        "assert(streamproc_send(b, 'o', 7, t, x));"
        "assert(streamproc_send(b, 'o', 8, t + 1, x));"
        "h = zmq_recv(a, 9999); p = zmq_recv(a, 9999);"
        "printf('%02x', h); puts(' '); printf('%02x', p);"
        "f = streamproc_receive(a, 5); assert(f.seq == 8 && f.t0_ns == t + 1);"
        "y = f.samples.data; if (! isvector(x)) assert(size(y), size(x)); end;"
        "assert(y(:), x(:)); assert(class(y), class(x)); "
    )
    parts = [bytes.fromhex(word) for word in said.split()]
    frame, filled = wire.decode_plain(parts, 0, 0)
    assert (frame.header.seq, frame.header.t0_ns) == (7, 1_700_000_000_123_456_789)
    assert not filled
    want = np.array(numbers).astype(frame.data.dtype).reshape(shape)
    assert np.array_equal(frame.data, want)
    assert [["data", code, shape]] == msgpack.unpackb(parts[0])[6]


def test_its_decoder_refuses_what_the_daemon_refuses(tmp_path: Path) -> None:
    """All that the daemon takes, and nothing that it does not, but for odd UTF-8."""
    heads = random.Random(3).sample(list(headers(20_000)), 1000)
    file = tmp_path / "heads"
    file.write_bytes(b"".join(len(h).to_bytes(4, "little") + h for h in heads))
    said = octave(
        f"f = fopen('{file}'); while (! isempty(n = fread(f, 1, 'uint32=>double')))"
        "b = fread(f, [1, n], 'uint8=>uint8');"
        "try h = streamproc_decode(b);"
        "printf('%d ', [h.seq, uint64(h.flags)]); disp('');"
        "catch e; if (! strcmp(e.identifier, 'streamproc:wire')) rethrow(e); end;"
        "disp('refused'); end; end"
    ).splitlines()
    assert len(said) == len(heads)
    for head, line in zip(heads, said, strict=True):
        wanted = as_the_daemon_reads(head)
        if wanted is not None:
            seq = "" if wanted[2] is None else str(wanted[2])
            assert line.split() == f"{seq} {wanted[5]}".split()
        elif line != "refused":
            assert is_odd(head)


def is_odd(head: bytes) -> bool:
    """No header of ours: text that is no UTF-8, or arrays nobody made samples of."""
    try:
        return is_large(head.hex().encode())
    except UnicodeDecodeError:
        return True
