"""Channels on which detectors are compared, and what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from streamproc.errors import ConfigError, nearest
from streamproc.evaluation.detectors import LONG
from streamproc.sims.isi import IsiConfig

GAMMAS = tuple(round(0.1 * k, 1) for k in range(1, 21))
LABELS = 5000


class Bound(NamedTuple):
    """`row` over `rival` in symbol error rate, by SNR: what it may be at most.

    worst: of the worst training seed, else of the seeds' mean rates. least: it asks
    for at least.
    """

    row: str
    rival: str
    ratios: dict[float, float]
    worst: bool = False
    least: bool = False


@dataclass(frozen=True, kw_only=True)
class DetectionCase:
    """A channel at several SNRs.

    snrs_db: each a line of the table.  gammas: decays that a line averages.
    test, train: scenes without seed, split, gamma and SNR.  reference: rates of the
    exact receiver and their standard errors.  rare: lines that need ten times the
    symbols.  told: rows that know the channel.  learned: rows that are trained.
    seeds: of training, at each gamma.
    """

    name: str
    what: str
    snrs_db: tuple[float, ...]
    test: IsiConfig
    train: IsiConfig
    gammas: tuple[float, ...] = (0.2,)
    told: tuple[str, ...] = ("exact",)
    learned: tuple[str, ...] = ("ls_bcjr", "factor_graph", "class_means")
    networks: tuple[str, ...] = ("residual", "dnn")
    seeds: int = 5
    share: float = 1.0
    rare: tuple[float, ...] = ()
    reference: dict[float, tuple[float, float]] = field(default_factory=dict)
    mlse: dict[float, tuple[float, float]] = field(default_factory=dict)
    bounds: tuple[Bound, ...] = ()

    def scene(self, split: str, gamma: float, snr_db: float, seed: int) -> IsiConfig:
        """One scene of the case."""
        base = self.test if split == "test" else self.train
        return replace(
            base,
            gamma=gamma,
            snr_db=snr_db,
            seed=seed,
            split="test" if split == "test" else "train",
        )


_PLAIN = IsiConfig(symbols=LONG)
_COMPLEX = IsiConfig(
    constellation="qpsk",
    taps=(1.0, 0.5, 0.2),
    taps_imag=(0.0, 0.4, -0.2),
    noise="impulsive",
)
_OURS = "factor_graph"
_SNRS = (-6.0, 0.0, 2.0, 4.0, 6.0, 8.0, 10.0)


def _by_snr(*ratios: float) -> dict[float, float]:
    return dict(zip(_SNRS, ratios, strict=True))


_AWGN_GAP = _by_snr(1.02, 1.02, 1.02, 1.02, 1.03, 1.03, 1.10)
_AWGN_WORST = _by_snr(1.03, 1.03, 1.03, 1.03, 1.03, 1.05, 1.25)
_CSI = {0.0: 1.15, 4.0: 2.0, 6.0: 4.5, 8.0: 14.0, 10.0: 80.0}
_LS_GAP = _by_snr(1.02, 1.02, 1.02, 1.02, 1.02, 1.02, 1.06)


def _gap(row: str) -> tuple[Bound, ...]:
    return (
        Bound(row, "exact", _AWGN_GAP),
        Bound(row, "exact", _AWGN_WORST, worst=True),
        Bound(row, "ls_bcjr", _LS_GAP),
    )


_CASES = (
    DetectionCase(
        name="awgn",
        what="BPSK, four taps exp(-0.2 l), Gaussian noise, 5000 known symbols",
        snrs_db=_SNRS,
        test=_PLAIN,
        train=_PLAIN,
        told=("exact", "mlse", "dfe", "lmmse"),
        rare=(10,),
        reference={
            -6: (0.27287, 2e-4),
            0: (0.15489, 2e-4),
            2: (0.10185, 2e-4),
            4: (0.04924, 2e-4),
            6: (1.404e-2, 6e-5),
            8: (2.041e-3, 2.3e-5),
            10: (1.208e-4, 2.0e-6),
        },
        mlse={
            -6: (0.28717, 2e-4),
            0: (0.16565, 2e-4),
            2: (0.10726, 2e-4),
            4: (0.05075, 2e-4),
            6: (1.419e-2, 6e-5),
            8: (2.046e-3, 2.3e-5),
            10: (1.210e-4, 2.0e-6),
        },
        bounds=(
            *_gap(_OURS),
            *_gap("residual"),
            Bound("dnn", "exact", {6: 1.04, 8: 1.12, 10: 1.5}),
        ),
    ),
    DetectionCase(
        name="awgn-average",
        what="the same, mean of twenty decays 0.1 to 2",
        snrs_db=(-6, 0, 4, 6, 8, 10),
        test=_PLAIN,
        train=_PLAIN,
        gammas=GAMMAS,
        told=("exact", "mlse"),
        seeds=1,
        share=0.1,
        rare=(10,),
        reference={
            -6: (0.29626, 1e-4),
            0: (0.15713, 1e-4),
            4: (0.05427, 1e-4),
            6: (1.968e-2, 3e-5),
            8: (4.193e-3, 1.2e-5),
            10: (4.135e-4, 2.2e-6),
        },
        mlse={
            -6: (0.30069, 1e-4),
            0: (0.16152, 1e-4),
            4: (0.05529, 1e-4),
            6: (1.988e-2, 3e-5),
            8: (4.208e-3, 1.2e-5),
            10: (4.140e-4, 2.2e-6),
        },
        bounds=(
            Bound(_OURS, "exact", _AWGN_GAP),
            Bound(_OURS, "ls_bcjr", _LS_GAP),
            Bound("residual", "exact", _AWGN_GAP),
            Bound("dnn", "exact", {6: 1.04, 8: 1.12, 10: 1.5}),
        ),
    ),
    DetectionCase(
        name="published",
        what="networks as published: ViterbiNet's, and a bidirectional LSTM",
        snrs_db=(0, 6, 8),
        test=_PLAIN,
        train=_PLAIN,
        learned=("ls_bcjr", "factor_graph"),
        networks=("dnn_published", "sbrnn"),
        share=0.1,
        bounds=(Bound("sbrnn", _OURS, {0: 1.05, 6: 2.5, 8: 4.0}, least=True),),
    ),
    DetectionCase(
        name="csi",
        what="trained on 10 frames of 500 with taps h (1 + 0.32 n), tested on h",
        snrs_db=(0, 4, 6, 8, 10),
        test=_PLAIN,
        train=IsiConfig(symbols=500, tap_error_var=0.1),
        told=("exact", "wrong"),
        learned=("ls_bcjr", "factor_graph", "following", "class_means"),
        networks=("dnn",),
        seeds=20,
        share=0.05,
        rare=(10,),
        bounds=(
            Bound(_OURS, "ls_bcjr", dict.fromkeys((0, 4, 6, 8, 10), 1.05)),
            Bound("wrong", _OURS, _CSI, least=True),
            Bound("wrong", "following", _CSI, least=True),
        ),
    ),
    DetectionCase(
        name="impulsive",
        what="5 % of the samples 20 dB noisier; SNR of the others",
        snrs_db=(0, 4, 8, 12),
        test=replace(_PLAIN, noise="impulsive"),
        train=replace(_PLAIN, noise="impulsive"),
        bounds=(
            Bound(_OURS, "exact", dict.fromkeys((0, 4, 8, 12), 1.03)),
            Bound("ls_bcjr", _OURS, {0: 1.3, 4: 2, 8: 4}, least=True),
        ),
        reference={
            0: (0.1706, 3e-4),
            4: (0.0707, 2e-4),
            8: (1.40e-2, 1e-4),
            12: (3.78e-3, 5e-5),
        },
    ),
    DetectionCase(
        name="laplace",
        what="noise of Laplace density",
        snrs_db=(0, 4, 8, 10),
        test=replace(_PLAIN, noise="laplace"),
        train=replace(_PLAIN, noise="laplace"),
        bounds=(Bound(_OURS, "ls_bcjr", dict.fromkeys((0, 4, 8, 10), 1.0)),),
    ),
    DetectionCase(
        name="poisson",
        what="on-off keying, y ~ Poisson(sqrt(rho) sum h s + 1), SNR is rho",
        snrs_db=(10, 18, 26, 30, 34),
        test=replace(_PLAIN, constellation="ook", noise="poisson"),
        train=replace(_PLAIN, constellation="ook", noise="poisson"),
        learned=("ls_bcjr", "mixture", "factor_graph", "class_means"),
        rare=(34,),
        reference={
            10: (0.2224, 4e-4),
            18: (0.1171, 3e-4),
            26: (0.02427, 2e-4),
            30: (5.95e-3, 8e-5),
            34: (7.24e-4, 3e-5),
        },
        bounds=(
            Bound(_OURS, "exact", {10: 1.03, 18: 1.03, 26: 1.03, 30: 1.03, 34: 1.05}),
            Bound("dnn", "exact", {26: 1.05, 30: 1.08, 34: 1.13}),
        ),
    ),
    DetectionCase(
        name="qpsk",
        what="QPSK through three complex taps, impulsive noise",
        snrs_db=(6, 10),
        test=replace(_COMPLEX, symbols=LONG),
        train=replace(_COMPLEX, symbols=LONG),
        networks=(),
        bounds=(
            Bound(_OURS, "exact", {6: 1.03, 10: 1.03}),
            Bound("ls_bcjr", _OURS, {6: 1.3, 10: 2.0}, least=True),
        ),
    ),
)
CASES = {case.name: case for case in _CASES}


def detection_case(name: str) -> DetectionCase:
    """A case by name. ConfigError with the nearest name if there is none."""
    if name not in CASES:
        raise ConfigError(f"no case {name!r}{nearest(name, CASES)}; or a check")
    return CASES[name]
