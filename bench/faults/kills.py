"""kill -9 at random, seeded, and the time until frames flow again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.faults.run import Disturbed

SPARES_TOO = 0.1  # share of kills that hit the spare as well
Show = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Kill:
    """Who was killed, and when (monotonic ns)."""

    worker: str
    at_ns: int


def storm(
    run: Disturbed,
    workers: Sequence[str],
    kills: int,
    seed: int,
    pause_s: tuple[float, float] = (0.02, 0.3),
    show: Show = lambda done, of, what: None,
) -> list[Kill]:
    """Kill a worker drawn at random, wait until frames flow and a while more, again.

    One time in ten the next is killed while this one is not back yet, and one time in
    ten the spare that it would come back from goes with it.
    """
    rng, done = random.Random(seed), []
    seen = run.flowing(0)
    while len(done) < kills:
        worker = rng.choice(workers)
        if rng.random() < SPARES_TOO:
            run.hit_spare()
        done.append(Kill(worker, run.hit(worker)))
        show(len(done), kills, worker)
        if rng.random() < 0.1 and len(done) < kills:
            time.sleep(rng.uniform(0.0, 0.05))
            continue
        run.until(lambda: run.restarts() >= len(done), f"{len(done)} restarts noticed")
        seen = run.recovered(len(done))
        time.sleep(rng.uniform(*pause_s))
    run.recovered(len(done))
    run.flowing(seen)
    return done
