"""From a recipe to an artifact: known symbols, a fit, a classifier, a scored card."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from streamproc.artifact import Session, write_artifact
from streamproc.card import DetectorCard, ErrorRow, PortRow, TrainingTable
from streamproc.detection.fit import FitConfig, Fitted, fit
from streamproc.detection.likelihood import usable
from streamproc.detection.network import NetworkLikelihood
from streamproc.detection.trellis import Trellis, as_real
from streamproc.errors import ConfigError
from streamproc.evaluation.detectors import (
    Known,
    Run,
    SumProduct,
    exact,
    known,
    runs,
    trellis_of,
)
from streamproc.frame import Array
from streamproc.models.data import samples
from streamproc.models.detector.contest import ROWS, Lesson, classify, network_of
from streamproc.models.detector.export import export
from streamproc.models.detector.recipe import (
    DetectorRecipe,
    RecordedData,
    SceneData,
)
from streamproc.models.detector.train import Told
from streamproc.models.shelf import UNHASHED, version
from streamproc.modulation import Modulation, constellation

TEST_SEED = 3000  # of the card's own test symbols
TEST_SYMBOLS = 1_000_000
LEAST_JUDGED = 100
JUDGED = 0.2  # share of a recording that the card is judged on
OWN_CASE = "test split of its own scene"
OWN_END = "unseen end of its own recording"


class Made(NamedTuple):
    """A head of one seed.

    graph: ONNX.  history: of the classifier, (epochs,).  minutes: of all seeds.
    """

    seed: int
    fitted: Fitted
    graph: bytes
    detector: SumProduct
    history: Array
    minutes: float


class Split(NamedTuple):
    """Known symbols to learn from, sequences to be judged on, and where from.

    usual: samples whose evidence is that of the right channel.
    """

    known: tuple[Known, ...]  # one for each seed
    usual: Array
    unseen: tuple[Run, ...]
    case: str


def split(recipe: DetectorRecipe, seeds: Sequence[int]) -> Split:
    """Data of a recipe. ConfigError for a recording that does not fit it."""
    if isinstance(recipe.data, RecordedData):
        return _recorded(recipe, recipe.data, len(seeds))
    config = recipe.data.config
    train = [replace(config, seed=seed, split="train") for seed in seeds]
    test = replace(
        config, seed=TEST_SEED, split="test", symbols=10_000, tap_error_var=0.0
    )
    usual = replace(test, split="val")
    return Split(
        tuple(known(one, recipe.labels) for one in train),
        known(usual, recipe.labels).y,
        tuple(runs(test, TEST_SYMBOLS)),
        OWN_CASE,
    )


def _recorded(recipe: DetectorRecipe, data: RecordedData, seeds: int) -> Split:
    y = samples(data.observation)
    symbols = samples(data.truth)
    if len(y) != len(symbols):
        raise ConfigError(
            f"{data.truth}: expected a symbol for each of {len(y)} samples, got "
            f"{len(symbols)}"
        )
    trellis = Trellis(constellation(data.constellation), data.memory)
    if symbols.dtype.kind not in "iu" or not -1 <= symbols.min() <= symbols.max() < (
        trellis.M
    ):
        raise ConfigError(
            f"{data.truth}: expected integers -1 to {trellis.M - 1}, got "
            f"{symbols.dtype} from {symbols.min()} to {symbols.max()}"
        )
    dims = 2 if np.iscomplexobj(y) or not trellis.constellation.real else 1
    rows, symbols = as_real(y, dims), symbols.astype(np.int8)
    end = len(rows) - round(JUDGED * len(rows))
    told = np.cumsum(trellis.classes_of(symbols[:end]) >= 0)
    last = min(end, int(np.searchsorted(told, recipe.labels)) + 1)
    mine = Known(rows[:last], symbols[:last], trellis)
    unseen = _pieces(rows[end:], symbols[end:], trellis)
    scored = sum(int(np.count_nonzero(run.symbols >= 0)) for run in unseen)
    if scored < LEAST_JUDGED:
        raise ConfigError(
            f"{data.truth}: expected at least {LEAST_JUDGED} known symbols in the last "
            f"{JUDGED:.0%}, which the card is judged on, got {scored}; put known ones "
            "last"
        )
    return Split((mine,) * seeds, mine.y, unseen, OWN_END)


def _pieces(y: Array, symbols: Array, trellis: Trellis) -> tuple[Run, ...]:
    """Sequences that have something to score, several so that their spread shows."""
    taps, count = np.zeros((1, trellis.memory)), max(1, min(20, len(y) // 500))
    cuts = zip(np.array_split(y, count), np.array_split(symbols, count), strict=True)
    return tuple(Run(part, sent, taps) for part, sent in cuts if (sent >= 0).any())


def make(
    recipe: DetectorRecipe, data: Split, seeds: Sequence[int], told: Told | None = None
) -> list[Made]:
    """A head for every seed."""
    began = time.perf_counter()
    below = [fit(*one, recipe.fit) for one in data.known]
    schedule = recipe.schedule
    found = None
    if schedule is not None:
        found = classify(
            data.known,
            below,
            Lesson(recipe.head, schedule, recipe.network),
            tuple(seeds),
            told,
        )
    minutes = (time.perf_counter() - began) / 60
    made = []
    for run, (seed, fitted, one) in enumerate(
        zip(seeds, below, data.known, strict=True)
    ):
        network = None if found is None else network_of(found, run)
        graph = export(fitted, recipe.head, network)
        history = np.empty(0) if found is None else found.history[:, run]
        detector = _detector(graph, fitted, one.trellis, found is not None)
        made.append(Made(seed, fitted, graph, detector, history, minutes))
    return made


def _detector(
    graph: bytes, fitted: Fitted, trellis: Trellis, network: bool
) -> SumProduct:
    if not network:
        return SumProduct(fitted.likelihood(), trellis)
    classes, dims = fitted.means.shape
    session = Session(graph, "the trained network")
    return SumProduct(NetworkLikelihood(session, dims, classes, ROWS), trellis)


def score(recipe: DetectorRecipe, data: Split, made: Sequence[Made]) -> list[ErrorRow]:
    """Every seed beside least squares on the same symbols, and the exact receiver."""
    trellis = data.known[0].trellis
    gaussian = FitConfig(noise="gaussian")
    rows = {
        "factor_graph": [one.detector for one in made],
        "ls_bcjr": [
            SumProduct(fit(*one, gaussian).likelihood(), trellis) for one in data.known
        ],
    }
    still = isinstance(recipe.data, SceneData) and not recipe.data.config.drift_symbols
    if still and isinstance(recipe.data, SceneData):
        config = recipe.data.config
        rows["exact"] = [SumProduct(exact(config), trellis_of(config))]
    return [_row(name, data, detectors) for name, detectors in rows.items()]


def _row(name: str, data: Split, detectors: Sequence[SumProduct]) -> ErrorRow:
    errors = np.array(
        [[_errors(detector, run) for run in data.unseen] for detector in detectors]
    )
    each = errors.mean(1)
    first = errors[0]
    se = first.std(ddof=1) / len(first) ** 0.5 if len(first) > 1 else 0.0
    return ErrorRow(
        case=data.case,
        row=name,
        ser=float(each.mean()),
        se=float(se),
        symbols=sum(len(run.y) for run in data.unseen),
        seeds=len(detectors),
        each_ser=tuple(float(value) for value in each) if len(each) > 1 else (),
    )


def _errors(detector: SumProduct, run: Run) -> float:
    counted = run.symbols >= 0
    return float((detector(run) != run.symbols)[counted].mean())


def shelve(
    recipe: DetectorRecipe,
    data: Split,
    one: Made,
    rows: Sequence[ErrorRow],
    command: str,
    folder: Path,
) -> Path:
    """Write one seed's artifact."""
    write_artifact(folder, _card(recipe, data, one, rows, command), one.graph)
    return folder


def _card(
    recipe: DetectorRecipe,
    data: Split,
    one: Made,
    rows: Sequence[ErrorRow],
    command: str,
) -> DetectorCard:
    trellis = data.known[0].trellis
    classes, dims = one.fitted.means.shape
    evidence = _evidence(one.detector, data.usual, trellis)
    return DetectorCard(
        name=recipe.name,
        package=version(),
        sha256=UNHASHED,
        known_failures=recipe.failures,
        constellation=_modulation(recipe),
        memory=trellis.memory,
        head="poisson" if one.fitted.rates is not None else recipe.head,
        base=recipe.base,
        labels=int(np.count_nonzero(data.known[0].symbols >= 0)),
        evidence=float(evidence.mean()),
        evidence_std=float(evidence.std()),
        inputs=(PortRow(name="y", shape=(dims,)),),
        outputs=(PortRow(name="loglik", shape=(classes,)),),
        training=TrainingTable(
            recipe=recipe.name,
            seed=one.seed,
            split="train",
            command=command,
            minutes=round(one.minutes, 2),
            iterations=len(one.history),
        ),
        metrics=tuple(rows),
    )


def _modulation(recipe: DetectorRecipe) -> Modulation:
    if isinstance(recipe.data, RecordedData):
        return recipe.data.constellation
    return recipe.data.config.constellation


def _evidence(detector: SumProduct, y: Array, trellis: Trellis) -> Array:
    """log p(y_t | y_<t) of samples (n, D) that are numbers, nats."""
    nobody = np.full(len(y), -1, np.int8)
    found = detector.odds(Run(y, nobody, np.zeros((1, trellis.memory))))[1]
    return found[usable(y)]
