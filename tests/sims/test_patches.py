"""Patches: one sequence per seed, the same each time, and none in two splits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streamproc.errors import ConfigError
from streamproc.sims.patches import Patches, Ranges, draw_patches, scene_of
from streamproc.sims.ultrasound import (
    Ultrasound,
    UltrasoundConfig,
    UltrasoundRank1Config,
)

SMALL = UltrasoundConfig(depth_px=10, width_px=12)
CASES = pytest.mark.parametrize("ranges", [None, Ranges()])


@CASES
def test_a_patch_is_its_seeds_scene(ranges: Ranges | None) -> None:
    drawn = draw_patches(SMALL, [4, 9], "val", 7, ranges=ranges)
    assert drawn.image.shape == (2, 7, 10, 12) and drawn.image.dtype == np.complex64
    scene = Ultrasound(scene_of(SMALL, 9, "val", ranges))
    for t in range(7):
        ports = scene.next()
        for name, rows in drawn._asdict().items():
            assert np.array_equal(rows[1, t], ports[name])


@CASES
def test_what_is_drawn_depends_on_nothing_but_seed_and_split(
    ranges: Ranges | None,
) -> None:
    alone = draw_patches(SMALL, [9], "val", 5, ranges=ranges).image[0]
    among = draw_patches(SMALL, [4, 9], "val", 5, ranges=ranges).image[1]
    other = draw_patches(SMALL, [9], "test", 5, ranges=ranges).image[0]
    assert np.array_equal(alone, among)
    assert not np.isclose(alone, other).any()


def test_ranges_are_reached_and_not_left() -> None:
    base = UltrasoundConfig()
    drawn = [scene_of(base, seed, "train", Ranges()) for seed in range(400)]

    def span(values: list[float]) -> tuple[float, float]:
        return min(values), max(values)

    spans = {
        "gain_db": (-20, 20),
        "noise_db": (-34, -18),
        "tissue_db": (5, 27),
        "psf_z_px": (0.9 * 0.65, 0.9 * 1.35),
        "psf_x_px": (1.6 * 0.65, 1.6 * 1.35),
        "decorrelation_db": (-60, -38),
        "bubbles_most": (0, 20),
    }
    for name, (least, most) in spans.items():
        low, high = span([float(getattr(c, name)) for c in drawn])
        room = 0.05 * (most - least)
        assert least <= low <= least + room, name
        assert most - room <= high <= most + 1e-9, name
    empty = np.mean([c.bubbles_most == 0 for c in drawn])
    assert 0.02 < empty < 0.1
    both = np.corrcoef([[c.psf_z_px, c.psf_x_px] for c in drawn], rowvar=False)
    assert abs(both[0, 1]) < 0.15  # each axis of its own: 3 standard errors


def test_another_base_is_kept_where_there_is_no_range() -> None:
    base = UltrasoundRank1Config(depth_px=8, vessels=3, dead_lines=(1,))
    made = scene_of(base, 3, "train", Ranges())
    assert isinstance(made, UltrasoundRank1Config)
    kept = ("depth_px", "vessels", "dead_lines", "amplitude", "strain")
    assert all(getattr(made, name) == getattr(base, name) for name in kept)
    assert scene_of(base, 3, "train") == replace(base, seed=3, split="train")


def test_vessels_and_slopes_are_drawn_where_they_are_asked_for() -> None:
    ranges = Ranges(
        tgc_db=(0, 20), noise_slope_db=(-3, 9), vessels=(0, 5), pulse_wavelengths=(0, 1)
    )
    plain = [scene_of(SMALL, seed, "train", Ranges()) for seed in range(60)]
    drawn = [scene_of(SMALL, seed, "train", ranges) for seed in range(60)]
    assert {c.vessels for c in drawn} == set(range(6))
    assert all((c.pulse_wavelengths > 0) == (c.vessels > 0) for c in drawn)
    assert max(c.tgc_db for c in drawn) > 15 > 5 > min(c.tgc_db for c in drawn)
    assert max(c.noise_slope_db for c in drawn) > 6
    # what was drawn before stays what it was
    assert [c.noise_db for c in drawn] == [c.noise_db for c in plain]
    assert draw_patches(SMALL, range(6), "train", 2, ranges=ranges).image.any()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vessels": (5, 2)}, "vessels: expected 0 <= least <= most"),
        ({"psf": (0.0, 1.0)}, "psf: expected factors > 0"),
        ({"motion": (2.0, 0.5)}, "motion: expected 0 <= least <= most"),
        ({"bubbles": (-5, -2)}, "bubbles: expected 0 <= least"),
        ({"noise_db": (3.0, -3.0)}, "noise_db: expected -300 <= least <= most"),
        ({"gain_db": (0.0, 800.0)}, "gain_db: expected at most 300 dB"),
        ({"empty": 7.0}, "empty: expected a share"),
    ],
)
def test_ranges_that_cannot_be_drawn_from_are_refused(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        Ranges(**changes)


def test_a_bar_hears_of_every_sequence() -> None:
    heard = []
    draw_patches(SMALL, range(3), "test", 1, bar=lambda *said: heard.append(said[:2]))
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_an_image_is_the_sum_of_its_parts_and_noise() -> None:
    drawn = draw_patches(SMALL, range(4), "test", 4)
    noise = drawn.image - drawn.tissue - drawn.truth
    assert abs(10 * np.log10(np.mean(np.abs(noise) ** 2)) + 26) < 0.5
    assert Patches._fields == ("image", "truth", "tissue")
