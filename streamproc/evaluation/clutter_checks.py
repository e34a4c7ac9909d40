"""What a learned clutter filter owes besides few errors: symmetries, equal engines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from streamproc.artifact import Artifact
from streamproc.card import ClutterCard
from streamproc.evaluation.clutter import (
    FAINTEST_DB,
    Progress,
    Separate,
    decibels,
    energy,
)
from streamproc.evaluation.clutter_cases import (
    ARTIFACTS,
    NOMINAL,
    Evaluating,
)
from streamproc.evaluation.clutter_network import NewestImage, WholeWindows, learned
from streamproc.evaluation.clutter_streams import FAULTED, WATCHED, Opener, through
from streamproc.evaluation.detection import Verdict
from streamproc.frame import Array
from streamproc.sims.patches import draw_patches

SAME, SAME_DB, SAME_NETWORK = 1e-4, 0.01, 1e-5
FRAMES, PATCHES = 50, 8  # that symmetries and engines are held to
SAME_BUBBLES_DB = -70.0  # at this an NMSE of -10 dB is the same to 0.01 dB
SEEDS_DB, MINUTES, LEAST_SEEDS = 0.3, 10.0, 3

# Bubbles (frame, 2, z, x) f4 of a window from scratch, given it, in units of the
# noise, and a basis (frame, 2 rank): what a network is to the framework it comes from.
Twin = Callable[[Array, Array], Array]
# Bubbles (1, 2, z, x) f4 of a newest image, given recent, hear and say.
LiveTwin = Callable[[Array, Array, Array], Array]


class Twins(NamedTuple):
    """Of an artifact's graphs, in the framework that they come from."""

    windows: Callable[[Artifact[ClutterCard]], Twin]
    live: Callable[[Artifact[ClutterCard]], LiveTwin]


SYMMETRIES: Mapping[str, Callable[[Array], Array]] = {
    "x 1000": lambda x: x * np.float32(1000),
    "x 0.001": lambda x: x * np.float32(0.001),
    "turned by 0.7 rad": lambda x: x * np.complex64(np.exp(0.7j)),
    "conjugated": np.conj,
}


def not_run(check: str, evaluating: Evaluating) -> str | None:
    """What of a check there is no artifact for, if there is any."""
    sought = {"faults": FAULTED, "guard": (WATCHED,)}.get(check, ARTIFACTS)
    missing = evaluating.missing(sought)
    if not missing:
        return None
    told = ", ".join(missing)
    if len(missing) == len(sought):
        return f"{check}, for there is no artifact {told}"
    return f"{check} of {told}, for there is no artifact of that name"


def present(evaluating: Evaluating) -> Iterator[tuple[str, str | Path]]:
    """Learned filters that there are."""
    for name in ARTIFACTS:
        where = evaluating.find(name)
        if where is not None:
            yield name, where


def equivariance(
    evaluating: Evaluating, opener: Opener, progress: Progress
) -> Iterator[Verdict]:
    """C4: from scratch, and through the node, whose state has seen it all along."""
    seeds = evaluating.seeds(1, 90_000)
    drawn = draw_patches(NOMINAL, seeds, "test", FRAMES)
    image, truth = drawn.image[0], drawn.truth[0]
    for name, where in present(evaluating):
        ways = {"windows": learned(where), "streaming": through(opener, where)}
        for told, method in ways.items():
            found = method.separate(image, truth)
            for done, (what, turn) in enumerate(SYMMETRIES.items()):
                apart = _apart(method.separate(turn(image), truth), turn(found))
                progress(done + 1, len(SYMMETRIES), f"{name}: {what}")
                yield Verdict(
                    asked=f"C4 {name}, {told}, {what}: output alike to {SAME:g}",
                    got=f"{apart:.1e}",
                    held=apart <= SAME,
                )


def _apart(found: Array, expected: Array) -> float:
    """Largest difference, of the largest value."""
    largest = float(np.abs(expected).max())
    return float(np.abs(found - expected).max()) / largest if largest else np.inf


def parity(
    evaluating: Evaluating, opener: Opener, twins: Twins | None, progress: Progress
) -> Iterator[Verdict]:
    """C7: the node, compiled kernels and their equations; ONNX and torch."""
    seeds = evaluating.seeds(PATCHES, 91_000)
    for name, where in present(evaluating):
        artifact = Artifact.load(where, ClutterCard)
        equations = WholeWindows(artifact, device="ref")
        others: dict[str, Separate] = {
            "compiled kernels": WholeWindows(artifact),
            "the node, window by window,": through_windows(opener, where),
        }
        for what, other in others.items():
            told = f"{name}: {what}"
            yield _alike(told, other, equations, seeds, progress)
        if twins is not None:
            told = f"{name}, windows"
            pairs = _of_windows(WholeWindows(artifact), twins.windows(artifact), seeds)
            yield _as_torch(told, pairs)
        if artifact.card.live_layers:
            yield _node_alike(name, NewestImage(artifact), opener, where, seeds)
            if twins is not None:
                live = _of_live(NewestImage(artifact), twins.live(artifact), seeds)
                yield _as_torch(f"{name}, streaming", live)


def through_windows(opener: Opener, where: str | Path) -> Separate:
    """A window of the network's, from scratch, as its node gives it image by image."""
    card = Artifact.load(where, ClutterCard).card
    config = {"model": str(where), "tissue": "window", "stride": card.window}

    def separate(images: Array, truth: Array) -> Array:
        node = opener("corona", {**config, "guard": False}, images.shape[1:])
        made = [node(image) for image in (*images, *images[:-1])]
        return np.stack([one.bubbles for one in made if one is not None])

    return separate


def _alike(
    what: str, mine: Separate, other: WholeWindows, seeds: range, progress: Progress
) -> Verdict:
    errors, whole, apart = np.zeros(2), 0.0, 0.0
    for n, (image, truth) in enumerate(_windows(other.card, seeds)):
        found = [one(image, truth) for one in (mine, other)]
        errors += [energy(one - truth) for one in found]
        whole += energy(truth)
        apart = max(apart, _apart(found[0], found[1]))
        progress(n + 1, len(seeds), what)
    found_db = [decibels(error / whole) for error in errors]
    return Verdict(
        asked=f"C7 {what} and the equations, step by step, differ by less than "
        f"{SAME_DB:g} dB",
        got=f"{abs(found_db[0] - found_db[1]):.1e} dB, values by {apart:.1e}",
        held=abs(found_db[0] - found_db[1]) < SAME_DB,
    )


def _windows(card: ClutterCard, seeds: range) -> Iterator[tuple[Array, Array]]:
    """One of the network's size for each seed, and its truth."""
    for seed in seeds:
        drawn = draw_patches(NOMINAL, [seed], "test", card.window)
        yield drawn.image[0], drawn.truth[0]


class Pair(NamedTuple):
    """Bubbles by ONNX and by torch, and the largest value of what they were given."""

    mine: Array
    other: Array
    largest: float


def _of_windows(network: WholeWindows, twin: Twin, seeds: range) -> Iterator[Pair]:
    for image, _ in _windows(network.card, seeds):
        network(image)
        kept = network.kept
        assert kept is not None, "it has seen a window"
        largest = float(np.abs(kept.image).max())
        yield Pair(kept.sparse, twin(kept.image, kept.basis), largest)


def _of_live(network: NewestImage, twin: LiveTwin, seeds: range) -> Iterator[Pair]:
    for seed in seeds:
        network(draw_patches(NOMINAL, [seed], "test", FRAMES).image[0])
        kept = network.kept
        assert kept is not None, "it has seen images"
        largest = float(np.abs(kept.recent).max())
        yield Pair(kept.sparse, twin(kept.recent, kept.hear, kept.say), largest)


def _as_torch(told: str, pairs: Iterable[Pair]) -> Verdict:
    """Rounding is that of what is given, some 40 dB above bubbles: D - L in float32."""
    count, apart, of_bubbles, error_db = 0, 0.0, 0.0, FAINTEST_DB
    for mine, other, largest in pairs:
        count += 1
        apart = max(apart, float(np.abs(mine - other).max()) / largest)
        of_bubbles = max(of_bubbles, _apart(mine, other))
        error_db = max(error_db, decibels(energy(mine - other) / energy(other)))
    return Verdict(
        asked=f"C7 {told}: ONNX and torch alike to {SAME_NETWORK:g} of the images' "
        f"largest value, and to {SAME_BUBBLES_DB:g} dB of the bubbles",
        got=f"{apart:.1e} and {error_db:.0f} dB, at worst; of the bubbles' largest "
        f"value {of_bubbles:.1e}; {count} of them",
        held=apart <= SAME_NETWORK and error_db <= SAME_BUBBLES_DB,
    )


def _node_alike(
    name: str, steps: NewestImage, opener: Opener, where: str | Path, seeds: range
) -> Verdict:
    """The newest image only: all before it are in what is followed."""
    apart, method = 0.0, through(opener, where, guard=False)
    for seed in seeds:
        images = draw_patches(NOMINAL, [seed], "test", FRAMES).image[0]
        apart = max(apart, _apart(method.separate(images, images)[-1], steps(images)))
    return Verdict(
        asked=f"C7 {name}: the node, streaming, and the equations, step by step, alike "
        f"to {SAME:g}",
        got=f"{apart:.1e}",
        held=apart <= SAME,
    )


def trained(evaluating: Evaluating) -> Iterator[Verdict]:
    """C10: what cards say of training: its time, and seeds beside each other."""
    for name, where in present(evaluating):
        card = Artifact.load(where, ClutterCard).card
        yield Verdict(
            asked=f"C10 {name}: trained within {MINUTES:g} minutes",
            got=f"{card.training.minutes:.1f}",
            held=card.training.minutes <= MINUTES,
        )
        for row in card.metrics:
            if row.seeds >= LEAST_SEEDS:
                spread = max(row.each_db) - min(row.each_db)
                yield Verdict(
                    asked=f"C10 {name}: {row.seeds} seeds of training within "
                    f"{SEEDS_DB:g} dB, {row.case}",
                    got=f"{spread:.2f} dB",
                    held=spread <= SEEDS_DB,
                )
