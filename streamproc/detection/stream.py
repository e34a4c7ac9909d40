"""Symbols out of an endless stream, decided window by window at a fixed lag.

    stream = Stream(trellis, Recursion("sum_product", window=160, lag=40))
    stream.use(likelihood)
    stream.push(y)                       # as many samples as there are
    stream.decide(stream.ready)          # all windows that can be, in one call
    y, odds, evidence = stream.take(512)

Windows lie on a grid that knows nothing of what was pushed when, so no split of the
samples changes a bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from streamproc.detection.forward import CERTAIN, FORWARD, Algorithm, Seen
from streamproc.detection.likelihood import Likelihood
from streamproc.detection.network import NetworkLikelihood
from streamproc.detection.rows import Rows
from streamproc.detection.trellis import Trellis
from streamproc.frame import Array
from streamproc.modulation import Pilots


@dataclass(frozen=True, slots=True)
class Recursion:
    """How symbols are decided.

    algorithm: sum_product, posteriors [Bahl et al., 1974]; max_log, its maxima;
    viterbi, the most likely sequence, with true traceback.
    window: symbols decided at once.  lag: symbols seen after them.
    """

    algorithm: Algorithm = "sum_product"
    window: int = 160
    lag: int = 40


class Decided(NamedTuple):
    """A window: index of its first symbol; samples (n, D), odds (n, M). Views."""

    first: int
    y: Array
    odds: Array


class Taken(NamedTuple):
    """Samples (n, D), odds (n, M) and evidence (n,), NaN where there is none. Views."""

    y: Array
    odds: Array
    evidence: Array


class Stream:
    """The trellis of one endless sequence, its forward state carried on.

    recursion: which, and how far it looks.  pilots: symbols that are known.
    informed: whether what is pushed brings a prior.

    Nothing is allocated from frame to frame once the longest was seen. `use` gives it
    the likelihood, or another one from the next window on; before, samples wait.
    """

    def __init__(
        self,
        trellis: Trellis,
        recursion: Recursion,
        dims: int,
        *,
        pilots: Pilots | None = None,
        informed: bool = False,
        device: str = "cpu",
    ) -> None:
        self.trellis, self.recursion, self.dims = trellis, recursion, dims
        self._pilots = pilots
        self._forward = FORWARD[recursion.algorithm](trellis, device)
        self._likelihood: Likelihood | None = None
        self._batch = 0  # rows in which a network runs
        self.decided = 0  # symbols, since the beginning
        M = trellis.M
        self._y, self._loglik = Rows(dims), Rows(trellis.classes)
        self._prior = Rows(M) if informed else None
        self._past, self._odds, self._evidence = Rows(dims), Rows(M), Rows(1)
        self._uninformed = np.empty((1, 0, M))

    @property
    def begun(self) -> bool:
        """Whether there is a likelihood."""
        return self._likelihood is not None

    @property
    def waiting(self) -> int:
        """Samples whose symbols are not decided."""
        return len(self._y)

    @property
    def available(self) -> int:
        """Symbols decided and not taken."""
        return len(self._odds)

    @property
    def ready(self) -> int:
        """Windows that can be decided."""
        seen = len(self._loglik) - self.recursion.lag
        return max(0, seen // self.recursion.window)

    def first(self, count: int) -> Array:
        """Samples (count, D) whose symbols are decided next; a view."""
        return self._y.first(count)

    def use(self, likelihood: Likelihood) -> None:
        """Judge samples by this one from the next window on."""
        self._likelihood = likelihood
        self._batch = 0
        if isinstance(likelihood, NetworkLikelihood):
            self._batch = likelihood.rows
        self._loglik.drop(len(self._loglik))
        self._judge()

    def push(self, y: Array, prior: Array | None = None) -> None:
        """Samples (n, D) f8, and log P(symbol) (n, M) of a stream that is informed."""
        self._y.extend(len(y))[...] = y
        if self._prior is not None:
            self._prior.extend(len(y))[...] = 0.0 if prior is None else prior
        self._judge()

    def decide(self, windows: int) -> Decided:
        """The next windows; valid until more is pushed."""
        return self._decide(windows * self.recursion.window)

    def finish(self) -> None:
        """Decide all the rest, after which nothing is known. Needs a likelihood."""
        self._judge(last=True)
        if len(self._y):
            self._decide(len(self._y))

    def give_up(self, count: int | None = None) -> None:
        """Of so many that wait, or of all, nothing can be said: odds 0."""
        waiting = len(self._y)
        count = waiting if count is None else min(count, waiting)
        self._past.extend(count)[...] = self._y.first(count)
        self._odds.extend(count)[...] = 0.0
        self._evidence.extend(count)[...] = 0.0
        self._leave(count)

    def take(self, count: int) -> Taken:
        """The oldest decided; valid until more is decided."""
        y, odds = self._past.first(count), self._odds.first(count)
        evidence = self._evidence.first(count)[:, 0]
        self._past.drop(count)
        self._odds.drop(count)
        self._evidence.drop(count)
        return Taken(y, odds, evidence)

    def _past_batch(self, place: int) -> int:
        """Samples between the last end of a batch and that of a place."""
        return (self.decided + place - self.recursion.lag) % self._batch

    def _decide(self, total: int) -> Decided:
        grid = self.recursion.window, self.recursion.lag
        odds, evidence = self._odds.extend(total), self._evidence.extend(total)
        y = self._past.extend(total)
        y[...] = self._y.first(total)
        loglik = self._loglik.first(min(total + grid[1], len(self._loglik)))
        ahead = self.decided + total + sum(grid)  # the last window may be shorter
        if self._prior is None and not self.pilots_in(self.decided, ahead):
            seen = Seen(loglik[None], self._uninformed, *grid)
            self._forward.run(seen, odds[None], evidence.T)
        else:
            for start, stop in self._runs(total):
                near = loglik[start : stop + grid[1]]
                prior = self._prior_of(start, start + len(near))
                out = odds[None, start:stop], evidence[start:stop].T
                self._forward.run(Seen(near[None], prior, *grid), *out)
        made = Decided(self.decided, y, odds)
        self._leave(total)
        return made

    def pilots_in(self, first: int, stop: int) -> int:
        """How many of these symbols are known."""
        pilots = self._pilots
        if pilots is None:
            return 0
        count, period = pilots.count, pilots.period
        before = first // period * count + min(first % period, count)
        return stop // period * count + min(stop % period, count) - before

    def _judge(self, last: bool = False) -> None:
        """Log-likelihoods of the samples that have none.

        A network runs in whole batches that end where a window's look-ahead ends.
        """
        if self._likelihood is None:
            return
        have, end = len(self._loglik), len(self._y)
        if not self._batch:
            into = self._loglik.extend(end - have)
            self._likelihood.into(self._y.first(end)[have:], into)
            return
        if not last:
            end -= self._past_batch(end)
        while have < end:
            stop = min(end, have + self._batch - self._past_batch(have))
            into = self._loglik.extend(stop - have)
            self._likelihood.into(self._y.first(stop)[have:], into)
            have = stop

    def _leave(self, count: int) -> None:
        self._y.drop(count)
        self._loglik.drop(min(count, len(self._loglik)))
        if self._prior is not None:
            self._prior.drop(count)
        self.decided += count

    def _runs(self, total: int) -> Iterator[tuple[int, int]]:
        """Pieces of the next symbols, whole windows of which all see pilots, or none.

        Whether a window sees one depends on its place only.
        """
        window, lag = self.recursion.window, self.recursion.lag
        if self._prior is not None:
            yield 0, total
            return
        start = 0
        sees = [
            self.pilots_in(first, first + window + lag) > 0
            for first in range(self.decided, self.decided + total, window)
        ]
        for place in range(1, len(sees) + 1):
            if place == len(sees) or sees[place] != sees[start]:
                yield start * window, min(place * window, total)
                start = place

    def _prior_of(self, start: int, stop: int) -> Array:
        """log P(symbol) (1, stop - start, M) of samples that wait, or (1, 0, M)."""
        first = self.decided + start
        known = self.pilots_in(first, first + stop - start)
        if self._prior is None and not known:
            return self._uninformed
        M = self.trellis.M
        if self._prior is None:
            prior = np.zeros((stop - start, M))
        else:
            prior = self._prior.first(stop)[start:]
        if known and self._pilots is not None:
            symbols = self._pilots.known(first, stop - start, M)
            where = symbols >= 0
            prior[where] = -CERTAIN
            prior[where, symbols[where]] = 0.0
        return prior[None]

    @property
    def state(self) -> dict[str, Array]:
        """Without the likelihood; what a network said is kept, the rest made again."""
        prior = self._uninformed[0] if self._prior is None else self._prior.all
        return {
            "y": self._y.all,
            "loglik": self._loglik.all[: None if self._batch else 0],
            "prior": prior,
            "past": self._past.all,
            "odds": self._odds.all,
            "evidence": self._evidence.all,
            "forward": self._forward.state,
            "decided": np.array(self.decided, np.int64),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._forward.state = np.array(state["forward"])
        self.decided = int(state["decided"])
        self._y.all, self._loglik.all = state["y"], state["loglik"]
        if self._prior is not None:
            self._prior.all = state["prior"]
        self._past.all = state["past"]
        self._odds.all, self._evidence.all = state["odds"], state["evidence"]
        self._judge()
