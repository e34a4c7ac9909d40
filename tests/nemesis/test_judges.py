"""The judges of the nemesis see what is wrong with a record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import nemesis
from bench.faults import run
from bench.faults.records import Recorded, arrivals, judge, judge_once, silences_ms


def whole(frames: int = 10) -> Recorded:
    seqs = list(range(frames))
    return Recorded(
        seqs, [1_000_000 * n for n in seqs], [0] * frames, [bytes([n]) for n in seqs]
    )


def picked(told: Recorded, order: list[int]) -> Recorded:
    fields = ("seqs", "t0_ns", "flags", "digests")
    return Recorded(*([getattr(told, name)[n] for n in order] for name in fields))


def test_a_record_like_the_undisturbed_one_is_clean() -> None:
    assert judge(whole(), whole()).clean


@pytest.mark.parametrize(
    ("order", "fault"),
    [
        ([0, 1, 2, 4, 5, 6, 7, 8, 9], "lost"),
        ([0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9], "duplicated"),
        ([0, 2, 1, 3, 4, 5, 6, 7, 8, 9], "disordered"),
    ],
)
def test_what_is_lost_twice_or_out_of_order_is_seen(
    order: list[int], fault: str
) -> None:
    verdict = judge(picked(whole(), order), whole())
    assert not verdict.clean and getattr(verdict, fault) == 1


@pytest.mark.parametrize("field", ["t0_ns", "flags", "digests"])
def test_another_content_is_seen(field: str) -> None:
    told = whole()
    values = list(getattr(told, field))
    values[3] = b"x" if field == "digests" else 7
    assert judge(replace(told, **{field: values}), whole()).differing == 1


def test_readings_may_be_missing_where_a_life_began_and_nowhere_else(
    tmp_path: Path,
) -> None:
    device = tmp_path / "device"
    np.array([10]).tofile(device)
    np.array([0, 6]).tofile(f"{device}.lives")
    told = judge_once(picked(whole(), [0, 1, 2, 3, 4, 6, 7, 8, 9]), device)
    assert (told.unlogged, told.lost) == (1, 0)
    told = judge_once(picked(whole(), [0, 1, 2, 4, 5, 6, 7, 7, 9]), device)
    assert (told.unlogged, told.lost, told.duplicated) == (0, 2, 1)


def test_silences_belong_to_the_moment_that_began_them(tmp_path: Path) -> None:
    ms = 1_000_000
    # frame 3 comes twice: the second time is nothing new
    told = [(0, 0), (1, 1), (2, 2), (3, 52), (3, 90), (4, 92), (5, 93), (6, 94)]
    path = tmp_path / "arrivals"
    np.array([(seq, at * ms) for seq, at in told]).tofile(path)
    assert silences_ms(arrivals(path), [2 * ms + 1, 60 * ms]) == [50.0, 40.0]
    assert silences_ms(arrivals(path), [93 * ms]) == [1.0]


def test_a_record_that_lacks_its_end_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "undisturbed", lambda name, folder, frames: whole(frames))
    cut = picked(whole(), list(range(7)))
    verdict = run.judged("tracker", tmp_path, cut, 10, {})
    assert (verdict.lost, verdict.duplicated) == (3, 0)


@pytest.mark.parametrize(
    ("told", "clean"),
    [
        ({"tracker": {"verdict": {"lost": 0, "differing": 0}, "kills": [[1]]}}, True),
        ({"tracker": {"verdict": {"lost": 1}}}, False),
        ({"drop_oldest": {"exact": False}}, False),
        ({"state": {"gave_up_with": "no room", "went_on_whole": True}}, True),
    ],
)
def test_results_that_are_not_clean_are_seen(told: dict, clean: bool) -> None:
    assert nemesis.clean(told) is clean


def test_the_nemesis_exits_with_1_where_a_verdict_is_not_clean(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(nemesis.PARTS, "link", lambda folder, args: {"lost": 1})
    monkeypatch.setattr("sys.argv", ["nemesis.py", "--only", "link", "--json"])
    with pytest.raises(SystemExit) as left:
        nemesis.main()
    assert left.value.code not in (0, None)
    assert '"lost": 1' in capsys.readouterr().out
