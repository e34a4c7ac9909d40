"""Clutter filters image by image: errors of the newest frame, the guard, faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from streamproc.artifact import Artifact
from streamproc.card import ClutterCard
from streamproc.errors import BadFrameError
from streamproc.evaluation.clutter import (
    BEST,
    Asked,
    ClutterScore,
    Measured,
    Method,
    Progress,
    best_rival,
    decibels,
    energy,
    judged,
    rows_of,
)
from streamproc.evaluation.clutter_cases import (
    LEARNED,
    NOMINAL,
    SCENE,
    Evaluating,
    fixed,
)
from streamproc.evaluation.clutter_network import learned
from streamproc.evaluation.clutter_rivals import RIVALS, WINDOW
from streamproc.evaluation.clutter_tuned import tuned
from streamproc.evaluation.detection import Verdict
from streamproc.frame import Array, Flags
from streamproc.sims.patches import draw_patches
from streamproc.sims.ultrasound import UltrasoundConfig

COLD = "rpca-cold-10"
WARM = (1, 2, 4)  # iterations of warm RPCA
NOISE_UP = replace(NOMINAL, noise_db=-20.0)
DENSE = replace(NOMINAL, bubbles_least=6, bubbles_most=24)
DIFFUSE_DB = (-10.0, 0.0)  # of blood that is no sum of bubbles
NAN_AT, ZERO_AT, ZEROS = 70, 80, 3  # frames that are spoilt, when all is settled
SPOILT = 96  # frames of a spoilt sequence
DEAD = (5, 20)
GUARDED = 120  # frames at least, for a guard must have settled before it can fall
WATCHED, FAULTED = "corona", LEARNED[:2]  # whose guard, and who is given faults
QUIET_DB = -30.0  # false energy re the noise's, at most


class Shown(NamedTuple):
    """What a node makes of an image; ports (z, x) c8."""

    bubbles: Array
    tissue: Array
    residual: Array
    flags: Flags


class Streaming(Protocol):
    """A node in service: an image in; what it makes of it, or of an earlier one."""

    def __call__(self, image: Array) -> Shown | None:
        """BadFrameError for an image that it refuses; None: not yet."""

    def report(self) -> dict[str, float]: ...


# A node by kind and config, for images of a shape.
Opener = Callable[[str, dict[str, Any], tuple[int, int]], Streaming]


def now(node: Streaming, image: Array) -> Shown:
    """What a node without latency makes of an image."""
    shown = node(image)
    assert shown is not None, "a node of stride 1 answers at once"
    return shown


def live(card: ClutterCard) -> dict[str, Any]:
    """What the node's config is for one image in, one out, if not the default."""
    return {} if card.live_layers else {"tissue": "window", "stride": 1}


def through(opener: Opener, where: str | Path, **config: Any) -> Method:
    """A learned filter as its node runs it, image by image."""
    card = Artifact.load(where, ClutterCard).card
    given = {"model": str(where), **live(card), **config}

    def separate(images: Array, truth: Array) -> Array:
        node = opener("corona", given, images.shape[1:])
        return np.stack([now(node, image).bubbles for image in images])

    return Method(what=f"node {card.name}", separate=separate, learned=True)


def newest(method: Method, what: str, window: int = WINDOW) -> Method:
    """Of a filter of windows: every window anew, only its newest frame counts."""

    def separate(images: Array, truth: Array) -> Array:
        made = np.zeros_like(images)
        for last in range(window - 1, len(images)):
            part = slice(last + 1 - window, last + 1)
            made[last] = method.separate(images[part], truth[part])[-1]
        return made

    return Method(what=what, separate=separate, learned=method.learned)


def streamed(evaluating: Evaluating, opener: Opener) -> dict[str, Method]:
    """All that answers at once."""
    rivals = tuned(SCENE).rivals
    methods = {
        name: fixed(name, row.params)
        for name, row in rivals.items()
        if RIVALS[name].streams
    }
    cold = fixed("hand-tuned", {**rivals["hand-tuned"].params, "iterations": 10})
    methods[COLD] = newest(cold, "hand-tuned RPCA, 10 cold iterations a frame")
    for count in WARM:
        params = {**rivals["stream-rpca"].params, "iterations": count}
        told = f"hand-tuned RPCA, {count} warm"
        methods[f"rpca-warm-{count}"] = fixed("stream-rpca", params, told)
    for name in LEARNED:
        where = evaluating.find(name)
        if where is not None:
            methods[name] = through(where=where, opener=opener)
    where = evaluating.find("corona")
    if where is not None:
        told = "all layers from scratch at every frame"
        methods["corona-cold"] = newest(learned(where), told)
    return methods


ASKED = (
    Asked(name="C9", row="corona", over=(COLD,), least_db=-0.3),
    Asked(name="C9", row="corona-fast", over=(COLD,), least_db=-0.3),
    Asked(name="C9", row="corona", over=("corona-cold",), least_db=-0.3),
    Asked(name="beyond", row="corona", over=(BEST,), least_db=0.0),
)


def streaming(
    evaluating: Evaluating, opener: Opener, progress: Progress
) -> ClutterScore:
    """C9: one frame of latency, sequences whose first window does not count."""
    methods = streamed(evaluating, opener)
    seeds = evaluating.seeds(evaluating.sequences, 50_000)
    errors = {name: np.zeros(len(seeds)) for name in methods}
    whole, late = np.zeros(len(seeds)), slice(WINDOW - 1, None)
    total = len(seeds) * len(methods)
    for n, seed in enumerate(seeds):
        drawn = draw_patches(NOMINAL, [seed], "test", evaluating.frames)
        image, truth = drawn.image[0], drawn.truth[0]
        whole[n] = energy(truth[late])
        for k, (name, method) in enumerate(methods.items()):
            found = method.separate(image, truth)
            errors[name][n] = energy((found - truth)[late])
            progress(n * len(methods) + k + 1, total, f"streaming: {name}")
    measured = Measured(errors, whole)
    rival = best_rival(measured, methods)
    return ClutterScore(
        case="streaming",
        what=f"{evaluating.frames} frames of each sequence, image by image, newest "
        f"frame; the first {WINDOW - 1} do not count",
        patches=len(seeds),
        rival=rival,
        rows=rows_of(measured, methods, rival),
        verdicts=judged(ASKED, measured, rival),
        missing=tuple(one for one in LEARNED if one not in methods),
    )


def guarding(
    evaluating: Evaluating, opener: Opener, progress: Progress
) -> Iterator[Verdict]:
    """Blood that is no sum of bubbles is detected; bubbles are not taken for it."""
    where = evaluating.find(WATCHED)
    if where is None:
        return
    cases: dict[str, tuple[UltrasoundConfig, bool]] = {
        f"diffuse flow of {level_db:g} dB": (
            replace(NOMINAL, diffuse_db=level_db),
            True,
        )
        for level_db in DIFFUSE_DB
    }
    cases["bubbles alone"] = NOMINAL, False
    cases["bubbles in noise 6 dB up"] = NOISE_UP, False
    cases["3 times as many bubbles"] = DENSE, False
    frames = max(evaluating.frames, GUARDED)
    for done, (name, (config, wanted)) in enumerate(cases.items()):
        seeds = evaluating.seeds(evaluating.sequences, 60_000)
        fell = []
        for seed in seeds:
            node = _opened(opener, where, _shape(config))
            drawn = draw_patches(config, [seed], "test", frames)
            for image in drawn.image[0]:
                now(node, image)
            fell.append(node.report()["falls"] > 0)
        progress(done + 1, len(cases), f"guard: {name}")
        share = float(np.mean(fell))
        asked = "at least 90 %" if wanted else "at most 5 %"
        yield Verdict(
            asked=f"guard falls in {asked} of sequences with {name}",
            got=f"{100 * share:.0f} % of {len(fell)}",
            held=share >= 0.9 if wanted else share <= 0.05,
        )


def _shape(config: UltrasoundConfig) -> tuple[int, int]:
    return config.depth_px, config.width_px


def faults(
    evaluating: Evaluating, opener: Opener, progress: Progress
) -> Iterator[Verdict]:
    """C6: no bubbles, zeros, NaN, dead lines, all through the node."""
    for name in FAULTED:
        where = evaluating.find(name)
        if where is None:
            continue
        yield from _quiet(evaluating, opener, name, progress)
        images = _images(evaluating, NOMINAL)
        yield from _refused(_opened(opener, where, images.shape[1:]), name, images)
        yield from _spotted(_opened(opener, where, images.shape[1:]), name, images)
        yield from _blank(_opened(opener, where, images.shape[1:]), name, images)
        images = _images(evaluating, replace(NOMINAL, dead_lines=DEAD))
        yield from _dead(_opened(opener, where, images.shape[1:]), name, images)


def _images(evaluating: Evaluating, config: UltrasoundConfig) -> Array:
    """A sequence (frame, z, x) c8."""
    seeds = evaluating.seeds(1, 70_000)
    images: Array = draw_patches(config, seeds, "test", SPOILT).image[0]
    return images


def _opened(opener: Opener, where: str | Path, shape: tuple[int, ...]) -> Streaming:
    card = Artifact.load(where, ClutterCard).card
    return opener("corona", {"model": str(where), **live(card)}, (shape[0], shape[1]))


def _quiet(
    evaluating: Evaluating, opener: Opener, name: str, progress: Progress
) -> Iterator[Verdict]:
    """Energy that comes out where there are no bubbles, from scratch and streamed."""
    config = replace(NOMINAL, bubbles_least=0, bubbles_most=0)
    where = evaluating.find(name)
    assert where is not None, "faults looks for it first"
    ways = {
        "windows from scratch": (learned(where), evaluating.fewer, WINDOW),
        "streaming": (through(opener, where), evaluating.sequences, evaluating.frames),
    }
    for told, (method, count, frames) in ways.items():
        made = noise = 0.0
        late = slice(WINDOW - 1 if frames > WINDOW else 0, None)
        for n, seed in enumerate(evaluating.seeds(count, 80_000)):
            drawn = draw_patches(config, [seed], "test", frames)
            image, tissue = drawn.image[0], drawn.tissue[0]
            nothing = np.zeros_like(image)
            made += energy(method.separate(image, nothing)[late])
            noise += energy((image - tissue)[late])
            progress(n + 1, count, f"{name}: no bubbles")
        found_db = decibels(made / noise)
        yield Verdict(
            asked=f"C6 {name}: no bubbles, {told}: energy at most {QUIET_DB:g} dB re "
            "the noise's",
            got=f"{found_db:.1f} dB",
            held=found_db <= QUIET_DB,
        )


def _refused(node: Streaming, name: str, images: Array) -> Iterator[Verdict]:
    refusals, finite = 0, True
    for n, image in enumerate(images):
        given = np.full_like(image, np.nan) if n == NAN_AT else image
        try:
            finite &= _finite(now(node, given))
        except BadFrameError:
            refusals += 1
    yield Verdict(
        asked=f"C6 {name}: a frame of NaN is refused, and all others come out finite",
        got=f"{refusals} refused, {'finite' if finite else 'NOT FINITE'}",
        held=refusals == 1 and finite,
    )


def _spotted(node: Streaming, name: str, images: Array) -> Iterator[Verdict]:
    bad = np.random.default_rng(0).random(images.shape[1:]) < 0.05
    finite, flagged, zero, before = True, False, False, Flags(0)
    for n, image in enumerate(images):
        given = np.where(bad, np.complex64(np.nan), image) if n == NAN_AT else image
        shown = now(node, given)
        finite &= _finite(shown)
        if n == NAN_AT:
            flagged = Flags.QUARANTINED in shown.flags
            zero = not shown.bubbles[bad].any()
        elif n == NAN_AT - 1:
            before = shown.flags
    facts = _facts(finite, flagged, zero, before)
    yield Verdict(
        asked=f"C6 {name}: 5 % of a frame's pixels NaN: zeros there, QUARANTINED",
        got=_told(facts),
        held=all(facts.values()),
    )


def _facts(finite: bool, flagged: bool, zero: bool, before: Flags) -> dict[str, bool]:
    """A flag says something only if it was not there before."""
    facts = {"finite": finite, "flagged": flagged, "zeros": zero}
    clear = not before & (Flags.DEGRADED | Flags.QUARANTINED)
    return facts | {"not flagged before": clear}


def _blank(node: Streaming, name: str, images: Array) -> Iterator[Verdict]:
    finite, flagged, zero, before = True, True, True, Flags(0)
    for n, image in enumerate(images):
        blank = ZERO_AT <= n < ZERO_AT + ZEROS
        shown = now(node, np.zeros_like(image) if blank else image)
        finite &= _finite(shown)
        if blank:
            flagged &= Flags.DEGRADED in shown.flags
            zero &= not shown.bubbles.any()
        elif n == NAN_AT:
            before = shown.flags
    facts = _facts(finite, flagged, zero, before)
    yield Verdict(
        asked=f"C6 {name}: frames of zeros: zeros, DEGRADED, and finite after them",
        got=_told(facts),
        held=all(facts.values()),
    )


def _dead(node: Streaming, name: str, images: Array) -> Iterator[Verdict]:
    shown = [now(node, image) for image in images]
    late = shown[NAN_AT:]
    columns = list(DEAD)
    facts = {
        "finite": all(map(_finite, shown)),
        "flagged": all(Flags.DEGRADED in one.flags for one in late),
        "zeros": not any(one.bubbles[:, columns].any() for one in late),
    }
    yield Verdict(
        asked=f"C6 {name}: dead lines: zeros there, DEGRADED, finite",
        got=_told(facts),
        held=all(facts.values()),
    )


def _finite(shown: Shown) -> bool:
    return all(
        bool(np.isfinite(image).all())
        for image in (shown.bubbles, shown.tissue, shown.residual)
    )


def _told(facts: Mapping[str, bool]) -> str:
    return ", ".join(name if held else f"NOT {name}" for name, held in facts.items())
