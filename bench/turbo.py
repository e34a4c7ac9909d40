"""Turbo equalisation: a detector and an LDPC decoder that help one another.

    python bench/turbo.py [--frames 400] [--json FILE] [--picture FILE]

needs the `ldpc` package, and the `ui` extra for the picture. Code words of rate 1/2
go, interleaved, as BPSK over four taps exp(-0.2 l). The detector is the node
`factor_graph.siso`, called as anybody's program calls it; its channel is learned from
one frame of pilots. It gives extrinsic LLRs of the code bits to the decoder, which
gives its own back as priors. [Douillard et al., Eur. Trans. Telecommun. 6(5), 1995;
Tuechler, Koetter & Singer, IEEE Trans. Commun. 50(5), 2002]

Rows count information bits and code words in error after each such iteration. `genie`
knows all symbols but the one it reads: no ISI is left. It is shown where the fitted
noise is of the true kind, for then no detector does better.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, hstack

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.harness import machine
from streamproc import Signature, open_node
from streamproc.cli.bar import Bar
from streamproc.frame import Array
from streamproc.modulation import Pilots

SEED = 20
GAMMA, MEMORY = 0.2, 4
TAPS = np.exp(-GAMMA * np.arange(MEMORY))
TAIL = MEMORY - 1  # known symbols at a frame's end: no frame depends on another
SYMBOLS = 2048  # in a frame
CODED = SYMBOLS - TAIL - 1  # an even number, for rate 1/2
PILOTS = Pilots(count=SYMBOLS, period=1 << 40, seed=1)
IMPULSE_RATE, IMPULSE_DB = 0.05, 20.0
CERTAIN = 50.0  # nats: a symbol that is known
GENIE = 30.0  # nats: certain, and small enough to be subtracted again
WEIGHT = 3  # ones in a column of information bits
APART = 0.03  # of all rows: what the ones of two columns are apart, altogether
ITERATIONS = 5
GENIE_ROW = "genie"
COLORS = {1: "#adb5bd", 2: "#74a9dc", 3: "#3277bd", 5: "#0b3d78", GENIE_ROW: "#2b8a3e"}
PASSES = 20  # of belief propagation, from one detection to the next


@dataclass(frozen=True, eq=False)
class Code:
    """A repeat-accumulate code: parity checks [A | D] of words [information, parity].

    A (checks, information) has WEIGHT ones in a column and D has two, on and under
    its diagonal, so that the parity bits are the running XOR of A u. No two columns
    share two rows: there are no cycles of length four. Columns of A lie far apart, so
    that no word of two information bits weighs less than APART of all checks.
    """

    checks: csr_matrix
    information: int

    def word(self, u: Array) -> Array:
        """The code word (n,) u1 of information bits (k,)."""
        sums = self.checks[:, : self.information] @ u
        return np.concatenate([u, np.cumsum(sums) % 2]).astype(np.uint8)


def code(n: int = CODED, seed: int = SEED) -> Code:
    """Rate 1/2, n bits."""
    rng, half = np.random.default_rng(seed), n // 2
    rows = None
    while rows is None:
        rows = _columns(rng, half)
    ones = np.ones(rows.size, np.uint8)
    places = np.repeat(np.arange(half), WEIGHT)
    left = csr_matrix((ones, (rows.ravel(), places)), shape=(half, half))
    right = np.eye(half, dtype=np.uint8) + np.eye(half, k=-1, dtype=np.uint8)
    return Code(hstack([left, csr_matrix(right)], format="csr"), half)


def _columns(rng: np.random.Generator, count: int) -> Array | None:
    """Rows of the ones of `count` columns (count, WEIGHT), each row as often as the
    others; None where the last of them cannot be placed.
    """
    left = np.repeat(np.arange(count), WEIGHT)
    taken = {(row, row + 1) for row in range(count - 1)}  # by the dual diagonal
    columns = np.empty((count, WEIGHT), np.int64)
    for placed in range(count):
        for _ in range(500):
            at = rng.choice(len(left), WEIGHT, replace=False)
            a, b, c = sorted(left[at].tolist())
            pairs = {(a, b), (a, c), (b, c)}
            apart = np.abs(columns[:placed] - (a, b, c)).sum(axis=1)
            near = apart < APART * count
            if a < b < c and not pairs & taken and not near.any():
                break
        else:
            return None
        taken |= pairs
        columns[placed] = a, b, c
        left = np.delete(left, at)
    return columns


class Decoded(NamedTuple):
    """Extrinsic LLRs (n,), decided bits (n,) u1; whether they are a code word."""

    extrinsic: Array
    bits: Array
    valid: bool


class Decoder:
    """Belief propagation (sum-product) by the `ldpc` package.

    That decodes errors, of a hard decision, from its syndrome: what it says of an
    error is turned into what it says of the bit. LLRs are log P(1) / P(0).
    """

    def __init__(self, code: Code, passes: int = PASSES) -> None:
        from ldpc.bp_decoder import BpDecoder  # for tests and benchmarks only

        self._checks = code.checks
        self._bp = BpDecoder(
            code.checks,
            error_rate=0.1,
            max_iter=passes,
            bp_method="product_sum",
            input_vector_type="syndrome",
        )

    def __call__(self, llr: Array) -> Decoded:
        hard = (llr > 0).astype(np.uint8)
        syndrome = (self._checks @ hard % 2).astype(np.uint8)
        if not syndrome.any():  # it would not even begin
            return Decoded(np.zeros_like(llr), hard, True)
        self._bp.update_channel_probs(1 / (1 + np.exp(np.abs(llr))))
        bits = hard ^ self._bp.decode(syndrome)
        posterior = np.where(hard, 1.0, -1.0) * self._bp.log_prob_ratios
        return Decoded(posterior - llr, bits, bool(self._bp.converge))


class Sent(NamedTuple):
    """Information bits (k,), symbols' indices (SYMBOLS,), samples (SYMBOLS,)."""

    information: Array
    symbols: Array
    y: Array


@dataclass(frozen=True, slots=True)
class Air:
    """A channel: noise "gaussian" or "impulsive" (SNR of its background)."""

    noise: str
    snr_db: float

    def send(self, symbols: Array, rng: np.random.Generator) -> Array:
        """Samples of a frame; the TAIL symbols before it are as those at its end."""
        s = 2.0 * np.concatenate([symbols[len(symbols) - TAIL :], symbols]) - 1
        y = np.convolve(s, TAPS, "valid")
        noise = 10 ** (-self.snr_db / 20) * rng.standard_normal(len(y))
        if self.noise == "impulsive":
            hit = rng.random(len(y)) < IMPULSE_RATE
            noise[hit] *= 10 ** (IMPULSE_DB / 20)
        return np.asarray(y + noise)


class Sender:
    """Code words as frames: interleaved, then the end of the pilots."""

    def __init__(self, seed: int = SEED) -> None:
        self.code, self._seed = code(), seed
        self.order = np.random.default_rng([seed, 1]).permutation(CODED)
        self.pilots = PILOTS.symbols(2)

    def frame(self, air: Air, number: int) -> Sent:
        """The same one for everybody who asks for this number."""
        rng = np.random.default_rng([self._seed, 2, number])
        u = rng.integers(0, 2, self.code.information, np.uint8)
        known = self.pilots[CODED:]
        symbols = np.concatenate([self.code.word(u)[self.order], known])
        return Sent(u, symbols, air.send(symbols, rng))


class Receiver:
    """The node, its channel learned from a frame of pilots; and the decoder.

    fit: what noise is fitted to pilots, "gaussian" or "mixture".
    """

    def __init__(self, sender: Sender, air: Air, fit: str) -> None:
        self._sender, self._decoder = sender, Decoder(sender.code)
        row = Signature.of("f8", {"symbol": SYMBOLS})
        self._siso = open_node(
            "factor_graph.siso",
            signatures={"observation": row, "prior": row},
            memory=MEMORY,
            noise=fit,
            window=SYMBOLS,
            lag=0,
            pilots=PILOTS.count,
            pilot_period=PILOTS.period,
            pilot_seed=PILOTS.seed,
        )
        rng = np.random.default_rng([SEED, 3])
        self.detect(air.send(sender.pilots, rng), np.zeros(CODED))

    def detect(self, y: Array, prior: Array) -> Array:
        """Extrinsic LLRs of code bits (CODED,), of priors (CODED,)."""
        known = np.where(self._sender.pilots[CODED:], CERTAIN, -CERTAIN)
        order = self._sender.order
        made = self._siso(y, np.concatenate([prior[order], known]))
        extrinsic = np.empty(CODED)
        extrinsic[order] = made.extrinsic[:CODED]
        return extrinsic

    def iterations(self, sent: Sent, count: int) -> Iterator[int]:
        """Wrong information bits after each; once a code word is found, it stays."""
        prior, found = np.zeros(CODED), None
        for _ in range(count):
            if found is None or not found.valid:
                found = self._decoder(self.detect(sent.y, prior))
                prior = found.extrinsic
            yield self._wrong(sent, found)

    def genie(self, sent: Sent) -> int:
        """Wrong information bits where all other symbols were known."""
        prior = np.empty(CODED)
        prior[self._sender.order] = np.where(sent.symbols[:CODED], GENIE, -GENIE)
        return self._wrong(sent, self._decoder(self.detect(sent.y, prior)))

    def _wrong(self, sent: Sent, found: Decoded) -> int:
        u = sent.information
        return int(np.count_nonzero(found.bits[: len(u)] != u))


class Curve(NamedTuple):
    """One detector on one channel: noise, fit, SNRs (dB)."""

    name: str
    noise: str
    fit: str
    snr_db: tuple[float, ...]

    @property
    def matched(self) -> bool:
        """Whether the noise fitted can be the channel's."""
        return self.fit == "mixture" or self.noise == "gaussian"


def _half_db(first: float, last: float) -> tuple[float, ...]:
    return tuple(np.arange(first, last + 0.25, 0.5).tolist())


CURVES = (
    Curve("Gaussian noise", "gaussian", "mixture", _half_db(-2.5, 2)),
    Curve("impulses, mixture", "impulsive", "mixture", _half_db(-2, 3)),
    Curve("impulses, Gaussian", "impulsive", "gaussian", _half_db(5, 10)),
)


class Row(NamedTuple):
    """Shares of wrong bits and words, of so many words."""

    curve: str
    snr_db: float
    iteration: int | str
    ber: float
    fer: float
    words: int


def point(sender: Sender, curve: Curve, snr_db: float, frames: int) -> list[Row]:
    """Every iteration at one SNR, and the genie."""
    air = Air(curve.noise, snr_db)
    receiver = Receiver(sender, air, curve.fit)
    wrong = np.zeros((frames, ITERATIONS + 1), np.int64)
    bar = Bar()
    for number in range(frames):
        sent = sender.frame(air, number)
        wrong[number, :ITERATIONS] = list(receiver.iterations(sent, ITERATIONS))
        if curve.matched:
            wrong[number, ITERATIONS] = receiver.genie(sent)
        bar(number + 1, frames, f"{curve.name}, {snr_db:g} dB")
    bar.clear()
    names = [*range(1, ITERATIONS + 1), *([GENIE_ROW] if curve.matched else [])]
    bits = frames * sender.code.information
    return [
        Row(
            curve.name,
            snr_db,
            name,
            float(column.sum() / bits),
            float(np.mean(column > 0)),
            frames,
        )
        for name, column in zip(names, wrong.T, strict=False)
        if name in COLORS
    ]


def draw(rows: list[Row], target: Path) -> None:
    """Bit error rates over SNR, a panel for each kind of noise; 0 is not drawn."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10})
    figure, panels = plt.subplots(
        1, 2, figsize=(9, 3.6), sharey=True, layout="constrained", width_ratios=(2, 3)
    )
    for axes, noise in zip(panels, ("gaussian", "impulsive"), strict=True):
        for curve in CURVES:
            if curve.noise == noise:
                _draw_curve(axes, curve, [r for r in rows if r.curve == curve.name])
        axes.set_xlabel("SNR, dB (1 / variance of the noise, or of its background)")
        axes.grid(alpha=0.3)
    panels[0].set_title("Gaussian noise")
    panels[1].set_title(
        f"{IMPULSE_RATE:.0%} impulses of {IMPULSE_DB:g} dB; likelihood learned: "
        "mixture —, Gaussian ···"
    )
    panels[0].set_ylabel("bit error rate")
    panels[0].legend(frameon=False, fontsize=8, loc="lower left")
    figure.savefig(target, dpi=110)


def _draw_curve(axes: Any, curve: Curve, rows: list[Row]) -> None:
    for name, color in COLORS.items():
        found = [row for row in rows if row.iteration == name]
        axes.semilogy(
            [row.snr_db for row in found],
            [row.ber or np.nan for row in found],
            "--" if name == GENIE_ROW else "o-" if curve.matched else "o:",
            color=color,
            ms=3,
            label="no ISI (genie)" if name == GENIE_ROW else f"iteration {name}",
        )


def main() -> None:
    """All curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=400, help="code words of a point")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--picture", type=Path, help="also draw them here")
    options = parser.parse_args()
    begun, sender = time.monotonic(), Sender()
    rows: list[Row] = []
    print(machine())
    for curve in CURVES:
        for snr_db in curve.snr_db:
            rows += point(sender, curve, snr_db, options.frames)
            shown = [r for r in rows if (r.curve, r.snr_db) == (curve.name, snr_db)]
            figures = "  ".join(f"{r.iteration}: {r.ber:.2g}" for r in shown)
            print(f"{curve.name:20} {snr_db:5.1f} dB  BER {figures}")
    if options.json:
        options.json.write_text(json.dumps(told(rows, begun), indent=1) + "\n")
    if options.picture:
        draw(rows, options.picture)


def told(rows: list[Row], begun: float) -> dict[str, Any]:
    """The figures, and what they were made of."""
    return {
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(time.monotonic() - begun, 1),
        "eb_n0_less_snr_db": round(10 * np.log10(np.sum(TAPS**2)), 2),  # of rate 1/2
        "code": {"n": CODED, "k": CODED // 2, "seed": SEED, "passes": PASSES},
        "rows": [row._asdict() for row in rows],
    }


if __name__ == "__main__":
    main()
