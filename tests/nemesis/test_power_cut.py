"""What is cut off or flipped in logs, checkpoints, recordings is not lost unsaid."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

from bench.faults import records, scenarios
from streamproc.errors import ArtifactError, PlacementError, StreamprocError
from streamproc.frame import Frame, Header, Signature
from streamproc.mount import Mount
from streamproc.nodes.file_sink import FileSink, FileSinkConfig
from streamproc.nodes.reels import RecordingReel
from streamproc.runtime.checkpoint import CheckpointFile, refuse_if_lost
from streamproc.runtime.source_log import SourceLog

SIZE = 64 << 10


def numbered(seq: int) -> Frame:
    data = np.full(40 + seq % 7, float(seq))
    return Frame(Header("s", seq, seq), {"data": data})


def logged(path: Path, frames: int, keep: int = 40) -> tuple[int, int]:
    """A log with its ring gone round; where its oldest frame of interest lies."""
    log = SourceLog(path, SIZE)
    positions = []
    for seq in range(frames):
        positions.append(log.position)
        log.trim(positions[max(0, seq - keep)])
        assert log.fits(numbered(seq))
        log.append(numbered(seq))
    log.close()
    return positions[max(0, frames - 1 - keep)]


def recovered(path: Path, position: tuple[int, int]) -> tuple[list[int], SourceLog]:
    log = SourceLog(path, SIZE)
    frames = [frame for _, frame in log.recover(position)]
    for frame in frames:  # whole, or not at all
        made = numbered(frame.header.seq)
        assert frame.header == made.header
        assert np.array_equal(frame.data, made.data)
    return [frame.header.seq for frame in frames], log


@pytest.mark.parametrize("frames", [30, 500, 1003])
def test_a_whole_log_gives_back_every_frame(tmp_path: Path, frames: int) -> None:
    position = logged(tmp_path / "log", frames)
    seqs, log = recovered(tmp_path / "log", position)
    assert seqs == list(range(position[1], frames))
    assert log.lost == 0


@pytest.mark.parametrize("seed", range(40))
def test_a_log_cut_anywhere_gives_what_is_whole_and_counts_the_rest(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    path, frames = tmp_path / "log", 900 + seed
    position = logged(path, frames)
    os.truncate(path, rng.randrange(SIZE))
    seqs, log = recovered(path, position)
    assert seqs == sorted(set(seqs)) and set(seqs) <= set(range(position[1], frames))
    holes = (
        [seq for seq in range(position[1], seqs[-1]) if seq not in seqs] if seqs else []
    )
    assert log.lost == len(holes)  # all but the tail
    here = log.position
    log.append(numbered(log.position[1]))  # and it goes on
    assert [f.header.seq for _, f in log.recover(here)] == [here[1]]


@pytest.mark.parametrize("seed", range(40))
def test_a_log_with_a_flipped_bit_loses_one_frame_at_most(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    path = tmp_path / "log"
    position = logged(path, 800)
    spoilt = bytearray(path.read_bytes())
    spoilt[rng.randrange(SIZE)] ^= 1 << rng.randrange(8)
    path.write_bytes(spoilt)
    seqs, log = recovered(path, position)
    missing = set(range(position[1], 800)) - set(seqs)
    assert len(missing) <= 1
    assert log.lost == len(missing - {799})


def checkpoint(path: Path, records_: int) -> list[bytes]:
    """A checkpoint file with a history; what was written into it."""
    file = CheckpointFile(path)
    written = [bytes([n % 256]) * (100 + 37 * n) for n in range(records_)]
    for record in written:
        file.write(record)
    file.close()
    return written


@pytest.mark.parametrize("seed", range(60))
def test_a_spoilt_checkpoint_is_the_last_or_the_one_before_or_refused(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    path = tmp_path / "c"
    written = checkpoint(path, 2 + seed % 9)
    spoilt = bytearray(path.read_bytes())
    if seed % 2:
        del spoilt[rng.randrange(1, len(spoilt)) :]
    else:
        spoilt[rng.randrange(len(spoilt))] ^= 0xFF
    path.write_bytes(spoilt)
    try:
        file = CheckpointFile(path)
    except ArtifactError as error:
        assert "restore the file" in str(error)
        return
    assert file.read() in written[-2:]
    file.write(b"next")
    assert file.read() == b"next"
    file.close()


def test_a_checkpoint_is_as_long_after_a_hundred_lives_as_after_three(
    tmp_path: Path,
) -> None:
    sizes = []
    for _ in range(100):
        file = CheckpointFile(tmp_path / "c")
        for _ in range(3):
            file.write(b"x" * 10_000)
        file.close()
        sizes.append((tmp_path / "c").stat().st_size)
    assert sizes[-1] == sizes[2]


def test_a_worker_whose_checkpoint_is_gone_does_not_begin_again(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        checkpoint(path, 1)
    paths[1].unlink()
    refuse_if_lost(paths)  # nobody got anywhere: a start that was cut short
    checkpoint(paths[0], 5)
    with pytest.raises(ArtifactError, match="/b: expected this worker's checkpoint"):
        refuse_if_lost(paths)
    os.truncate(paths[0], 0)
    checkpoint(paths[1], 5)
    with pytest.raises(ArtifactError, match="/a: "):
        refuse_if_lost(paths)


def written(path: Path, frames: int) -> Mount:
    node = FileSink(FileSinkConfig(path=path.name, root=str(path.parent)))
    node.accept(Signature.of("f8", {"x": -1}))
    node.open("cpu")
    mount = Mount("disk", node, {})
    for seq in range(frames):
        mount((numbered(seq),))
    return mount


@pytest.mark.parametrize("seed", range(20))
def test_a_recording_cut_anywhere_keeps_every_frame_before_the_cut(
    tmp_path: Path, seed: int
) -> None:
    path = tmp_path / "a.frames"
    mount = written(path, 50)
    state = mount.snapshot()
    mount.node.close()
    ends = np.cumsum([0] + [_record_bytes(path, index) for index in range(50)])
    first = path.stat().st_size - ends[-1]
    at = random.Random(seed).randrange(first, path.stat().st_size)
    os.truncate(path, at)
    told = records.read(path)
    assert told.seqs == list(range(int(np.searchsorted(ends, at - first, "right")) - 1))
    again = FileSink(FileSinkConfig(path=path.name, root=str(path.parent)))
    again.accept(Signature.of("f8", {"x": -1}))
    again.resumed = True
    again.open("cpu")
    with pytest.raises((PlacementError, StreamprocError), match="expected the"):
        Mount("disk", again, {}).restore(state)  # frames it had answered for are gone


def _record_bytes(path: Path, index: int) -> int:
    reel = RecordingReel(path)
    reel.count()
    record = reel._records[index]
    return record.length + 16


@pytest.mark.parametrize("seed", [2, 4, 8])
def test_a_run_goes_on_from_a_damaged_state_folder_or_refuses_and_loses_nothing_unsaid(
    tmp_path: Path, seed: int
) -> None:
    told = scenarios.damaged(tmp_path / "run", seed)
    assert told.disordered == told.duplicated == 0
    assert told.missing == told.told, told
    if told.refused:
        assert told.file in told.refused and "remove the state folder" in told.refused
