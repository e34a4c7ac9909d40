"""What a trained clutter filter is worth, beside filters that nobody trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from streamproc.card import NmseRow
from streamproc.clutter.guard import coherence
from streamproc.clutter.incremental import IncrementalParams
from streamproc.evaluation.clutter import Measured
from streamproc.evaluation.clutter_rivals import RIVALS, Params, estimates
from streamproc.evaluation.clutter_tuned import TunedRival, tuned
from streamproc.evaluation.clutter_tuning import SCENES
from streamproc.frame import Array
from streamproc.models.clutter.data import Unseen
from streamproc.models.clutter.followed import (
    EVERY,
    FIRST,
    Moments,
    joined,
    of_sequence,
)
from streamproc.models.clutter.network import Corona, Live
from streamproc.models.clutter.recipe import ClutterRecipe, RecordedData
from streamproc.models.clutter.train import Told
from streamproc.models.clutter.windows import planes, windows

AT_ONCE = 16  # windows
USUAL_STD = 5.0  # the guard's limit in deviations above the mean, at least
FALSE_ALARMS = 0.05  # share of varied images above the limit, at most
NEVER = 0.95  # the highest limit


class Watch(NamedTuple):
    """What is usual of the residual's coherence, and what is not."""

    limit: float
    mean: float
    std: float


def answers(network: Corona, images: Array) -> Iterator[tuple[Array, Array]]:
    """Of (N, T, Z, X) c8, some at a time: bubbles of every depth (K, B, T, Z, X) c8,
    and what the deepest leaves of the newest images, (B, 2, Z, X) f4, in units of the
    noise. Windows are cold.
    """
    with torch.no_grad():
        for first in range(0, len(images), AT_ONCE):
            given = windows(images[first : first + AT_ONCE], network.config.rank)
            image, scale, basis = given
            found, tissue, _ = network(image, torch.zeros_like(image), basis)
            left = (image - tissue[-1] - found[-1])[:, -1].numpy()
            parts = torch.stack([one * scale for one in found]).numpy()
            yield (parts[:, :, :, 0] + 1j * parts[:, :, :, 1]), left


def errors(network: Corona, unseen: Unseen) -> Array:
    """Squared error of every depth and window, (K, N)."""
    rows, first = [], 0
    for found, _ in answers(network, unseen.image):
        here = slice(first, first + found.shape[1])
        rows.append(_square(found - unseen.truth[here], unseen.counts[here]))
        first = here.stop
    return np.concatenate(rows, axis=1)


def _square(images: Array, counts: Array) -> Array:
    """Over all but the leading axes of (..., T, Z, X)."""
    return np.asarray((np.abs(images) ** 2 * counts).sum((-3, -2, -1), dtype=float))


def rivals(recipe: ClutterRecipe) -> dict[str, TunedRival]:
    """SVD, and the best of those that are tuned for whole windows.

    Where levels are not the scene's own, only those with thresholds in units of the
    noise are fair.
    """
    own, known = SCENES[recipe.scene], tuned(recipe.scene).rivals
    levels = False
    if not isinstance(recipe.data, RecordedData):
        levels = replace(recipe.data.config, seed=own.seed, split=own.split) == own
    fair = [
        name
        for name, rival in RIVALS.items()
        if name in known
        and not rival.streams
        and (levels or rival.fixed.get("units") != "absolute")
    ]
    best = min(fair, key=lambda name: known[name].val_db)
    return {name: known[name] for name in dict.fromkeys(("svd", best))}


def live_rivals(recipe: ClutterRecipe) -> dict[str, TunedRival]:
    """Sliding SVD, and the best of those that are tuned for streams."""
    known = tuned(recipe.scene).rivals
    fair = [name for name in known if name in RIVALS and RIVALS[name].streams]
    best = min(fair, key=lambda name: known[name].val_db)
    return {name: known[name] for name in dict.fromkeys(("stream-svd", best))}


def rival_errors(
    name: str,
    params: Params,
    unseen: Unseen,
    told: Told | None,
    at: Sequence[int] | None = None,
) -> Array:
    """Squared error of every window, (N,), or of some of its images."""
    made = []
    for n, (image, truth, counts) in enumerate(zip(*unseen[:3], strict=True)):
        if told:
            told(n, len(unseen.image), f"judging {name}")
        *_, last = estimates(RIVALS[name], image, params)
        some = slice(None) if at is None else list(at)
        made.append(_square((last.bubbles - truth)[some], counts[some]))
    return np.array(made)


def score(
    recipe: ClutterRecipe,
    networks: Sequence[Corona],
    unseen: Unseen,
    told: Told | None = None,
) -> list[NmseRow]:
    """Every depth of the first network, and the rivals, the best of them last.

    each_db: of all the networks, where there are several.
    """
    each = [errors(network, unseen) for network in networks]
    beside = {
        name: rival_errors(name, rival.params, unseen, told)
        for name, rival in rivals(recipe).items()
    }
    return _rows("corona", unseen, each, beside)


def score_live(
    recipe: ClutterRecipe,
    networks: Sequence[Live],
    unseen: Unseen,
    told: Told | None = None,
) -> list[NmseRow]:
    """The same of streams, whose newest images are judged now and then."""
    last = unseen.image.shape[1]
    at = range(FIRST, last, EVERY)
    each = [live_errors(network, recipe.follower, unseen, at) for network in networks]
    beside = {
        name: rival_errors(name, rival.params, unseen, told, at)
        for name, rival in live_rivals(recipe).items()
    }
    image, truth, counts = (rows[:, list(at)] for rows in unseen[:3])
    judged = Unseen(image, truth, counts, f"{unseen.case}, streaming")
    return _rows("corona, live", judged, each, beside)


def live_errors(
    network: Live, follower: IncrementalParams, unseen: Unseen, at: Sequence[int]
) -> Array:
    """Squared error of every depth and stream, (K, N)."""
    rows = []
    for image, truth, counts in zip(*unseen[:3], strict=True):
        pairs = zip(image, truth, strict=True)
        sequence = ({"image": a, "truth": b} for a, b in pairs)
        given = joined(of_sequence(sequence, follower, network.config.recent))
        found = live_answers(network, given) - given.truth
        rows.append(_square(found, counts[list(at)]))
    return np.stack(rows, axis=1)


def live_answers(network: Live, given: Moments) -> Array:
    """Bubbles of every depth (K, N, Z, X) c8."""
    with torch.no_grad():
        scale = torch.from_numpy(given.scale)[:, None, None]
        rows, recent = planes(given.rows), planes(given.recent)
        found, _ = network(recent / scale, rows * scale, rows / scale)
        parts = torch.stack([(one * scale)[:, 0] for one in found]).numpy()
    return np.asarray(parts[:, :, 0] + 1j * parts[:, :, 1])


def _rows(
    name: str, unseen: Unseen, each: Sequence[Array], beside: dict[str, Array]
) -> list[NmseRow]:
    """each: errors (K, N) of all seeds.  beside: those (N,) of the rivals."""
    first, *others = each
    deepest = len(first)
    mine = {name: first[-1]}
    for depth in range(deepest - 1, 0, -1):
        mine[f"{name}, {depth} of {deepest} layers"] = first[depth - 1]
    again = {f"seed {n}": one[-1] for n, one in enumerate(others, 1)}
    whole = _square(unseen.truth, unseen.counts)
    measured = Measured({**mine, **beside, **again}, whole)
    best = list(beside)[-1]
    made = [_row(unseen.case, measured, row, best) for row in (*mine, *beside)]
    if again:
        each_db = tuple(round(measured.nmse_db(n), 3) for n in (name, *again))
        made[0] = replace(made[0], seeds=len(each_db), each_db=each_db)
    return made


def _row(case: str, measured: Measured, name: str, rival: str) -> NmseRow:
    gain = measured.gain(name, rival)
    return NmseRow(
        case=case,
        row=name,
        nmse_db=round(measured.nmse_db(name), 3),
        gain_db=round(gain.db, 3),
        low_db=round(gain.low_db, 3),
        high_db=round(gain.high_db, 3),
        patches=len(measured.energy),
    )


def watch(network: Corona, usual: Array, varied: Array) -> Watch:
    """What the guard is to hold for usual, from validation images (N, T, Z, X) c8.

    The limit is above all but a twentieth of the varied images, for which the network
    was trained as well.
    """
    own = _coherences(network, usual)
    mean, std = float(own.mean()), float(own.std())
    limit = mean + USUAL_STD * std
    if len(varied):
        others = _coherences(network, varied)
        limit = max(limit, float(np.quantile(others, 1 - FALSE_ALARMS)))
    limit = min(max(limit, 0.05), NEVER)
    return Watch(*(round(value, 4) for value in (limit, mean, std)))


def _coherences(network: Corona, images: Array) -> Array:
    lefts = (left for _, left in answers(network, images))
    return np.array([coherence(one) for left in lefts for one in left])
