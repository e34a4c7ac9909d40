"""Tuning of clutter filters: every rival runs, the best is found, the file is whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamproc.errors import ArtifactError
from streamproc.evaluation import clutter_tuning
from streamproc.evaluation.clutter_rivals import (
    PATCHES,
    RIVALS,
    Axis,
    estimates,
    oracle_svd,
)
from streamproc.evaluation.clutter_tuned import (
    TunedRival,
    TunedScene,
    read,
    shipped,
    tuned,
    write,
)
from streamproc.evaluation.clutter_tuning import (
    SCENES,
    SPLIT,
    Data,
    Search,
    score,
    sequences,
    windows,
)
from streamproc.sims.patches import draw_patches
from streamproc.sims.ultrasound import UltrasoundConfig

CONFIG = UltrasoundConfig(depth_px=16, width_px=16)


def data(name: str) -> Data:
    """A little of what a rival is tuned on."""
    drawn = sequences(CONFIG, 1) if RIVALS[name].streams else windows(CONFIG, 3)
    return Data(drawn.image[:, :40], drawn.truth[:, :40], drawn.first)


@pytest.mark.parametrize("name", RIVALS)
def test_every_rival_runs_and_its_score_is_its_error(name: str) -> None:
    rival = replace(RIVALS[name], fixed={**RIVALS[name].fixed})
    if "iterations" in rival.fixed:
        rival.fixed["iterations"] = 2
    start = {axis.name: axis.values[len(axis.values) // 2] for axis in rival.axes}
    given = data(name)
    found = score(rival, given, start)
    error = 0.0
    for image, truth in zip(given.image, given.truth, strict=True):
        (made,) = estimates(rival, image, found.params)
        error += float((np.abs(made.bubbles - truth)[given.first :] ** 2).sum())
    nmse_db = 10 * np.log10(error / given.energy)
    assert found.nmse_db == pytest.approx(nmse_db, abs=0.02)  # the gain is rounded
    assert ("gain" in found.params) == rival.gained


def test_the_search_finds_what_a_full_grid_finds_and_more() -> None:
    rival = replace(
        RIVALS["hand-tuned"],
        axes=(
            Axis("level", (0.4, 0.8, 1.6), log=True),
            Axis("threshold", (0.5, 1.0, 2.0), log=True),
        ),
        fixed={"rank": 3, "smooth_z_px": 0.5, "smooth_x_px": 0.8},
    )
    given, told = windows(CONFIG, 6), []
    best = Search(rival, given, lambda *row: told.append(row[:2])).run()
    grid = [
        score(rival, given, {"level": level, "threshold": threshold}).nmse_db
        for level in (0.4, 0.8, 1.6)
        for threshold in (0.5, 1.0, 2.0)
    ]
    assert best.nmse_db <= min(grid) + 0.05  # counts of iterations make other minima
    assert best.nmse_db == pytest.approx(
        score(rival, given, best.params).nmse_db, abs=0.02
    )
    assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))


@pytest.mark.parametrize("scene", SCENES)
def test_tuning_never_sees_a_test_sequence(scene: str) -> None:
    assert SPLIT == "val" and PATCHES >= 96
    small = replace(SCENES[scene], depth_px=8, width_px=8)
    own = windows(small, 3).image
    other = draw_patches(small, range(3), "test").image
    assert not np.isin(own.ravel(), other.ravel()).any()


def test_the_file_keeps_what_it_is_given(tmp_path) -> None:  # type: ignore[no-untyped-def]
    rivals = {
        "svd": TunedRival(params={"rank": 3, "rule": "knee"}, val_db=-2.345),
        "rpca": TunedRival(params={"level": 0.1, "rows": True}, val_db=-6.0),
    }
    scenes = {"ultrasound": TunedScene(command="streamproc tune", rivals=rivals)}
    path = tmp_path / "tuned.toml"
    write(path, scenes)
    assert read(path.read_text(), "x") == scenes
    assert list(tmp_path.iterdir()) == [path]
    for text in ("[", "[a]\ncommand = 'x'", "a = 1", "[a.rivals.b]\nval_db = 1"):
        with pytest.raises(ArtifactError, match=r"x: .*streamproc tune clutter"):
            read(text, "x")


def test_what_comes_along_is_tuned_for_every_scene_and_rival() -> None:
    for scene in SCENES:
        found = tuned(scene)
        assert set(found.rivals) == set(RIVALS)
        for name, row in found.rivals.items():
            axes = {axis.name for axis in RIVALS[name].axes}
            assert axes <= set(row.params)
    with pytest.raises(ArtifactError, match="'lunar' is not tuned"):
        tuned("lunar")
    assert set(shipped()) == set(SCENES)


def test_what_comes_along_scores_as_it_says() -> None:
    rows = tuned("ultrasound").rivals
    given = windows(SCENES["ultrasound"])
    for name in ("svd", "svd-knee"):
        found = score(RIVALS[name], given, rows[name].params)
        assert found.nmse_db == pytest.approx(rows[name].val_db, abs=2e-3)


def test_the_order_of_the_rivals_is_what_it_should_be() -> None:
    rows = {name: row.val_db for name, row in tuned("ultrasound").rivals.items()}
    assert rows["high-pass"] > rows["svd"] > rows["svd-knee"] > rows["rpca"]
    assert rows["hand-tuned"] < rows["capped-smooth"] < rows["capped"]
    assert rows["hand-tuned"] < rows["rpca"] - 1
    assert rows["stream-robust"] < rows["stream-rpca"] < rows["stream-svd"]


def test_a_tune_is_the_search_of_each(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(clutter_tuning.SCENES, "small", CONFIG)
    monkeypatch.setattr(clutter_tuning, "windows", lambda config, _: windows(config, 2))
    found = clutter_tuning.tune("small", ["svd"], lambda *_: None)
    assert found["svd"].params["rank"] in range(1, 7)


def test_no_rank_beats_the_oracle() -> None:
    given = windows(CONFIG, 3)
    for image, truth in zip(given.image, given.truth, strict=True):
        best = np.linalg.norm(oracle_svd(image, truth).bubbles - truth)
        for rank in (1, 2, 3, 4):
            (made,) = estimates(RIVALS["svd"], image, {"rank": rank})
            assert best <= np.linalg.norm(made.bubbles - truth)
