"""Seeded damage to bytes, and a child process that takes what is damaged."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path


def corrupted(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """The same bytes with bits flipped, parts cut out, doubled, zeroed or replaced."""
    rng = random.Random(seed)
    made = 0
    while made < count:
        damaged = _damaged(bytearray(content), rng)
        if damaged != content:
            made += 1
            yield damaged


def _damaged(content: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        at = rng.randrange(max(1, len(content)))
        length = min(rng.choice((1, 1, 2, 4, 16, 256)), len(content) - at)
        what = rng.randrange(6)
        if what == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            del content[at : at + length]
        elif what == 2:
            content[at:at] = content[at : at + length]
        elif what == 3:
            content[at : at + length] = bytes(length)
        elif what == 4:
            content[at : at + length] = rng.randbytes(length)
        else:
            del content[at:]
        if not content:
            break
    return bytes(content)


def take_models(folder: Path, count: int, seed: int) -> None:
    """Load and run damaged models whose hashes were made to fit; print the counts.

    Whoever made them lied in the card too, so ONNX Runtime is all that is left to
    refuse them, and it must do so without taking the process along.
    """
    import numpy as np

    from streamproc.artifact import REFUSALS, Artifact, write_artifact
    from streamproc.card import TrackerCard
    from streamproc.errors import ArtifactError

    whole = Artifact.load(folder, TrackerCard)
    refused = ran = 0
    for number, model in enumerate(corrupted(whole.model, count, seed)):
        place = folder.parent / f"liar{number}"
        write_artifact(place, whole.card, model)
        print(number, end=" ", file=sys.stderr, flush=True)  # who killed us?
        try:
            session = Artifact.load(place, TrackerCard).session()
        except ArtifactError:
            refused += 1
            continue
        feeds = {k: np.ones((2, *v), np.float32) for k, v in session.inputs.items()}
        try:
            session.run(("update", "gain"), feeds)
            ran += 1
        except (*REFUSALS, UnicodeDecodeError):  # its message quotes what it read
            refused += 1
    print(refused, ran)


if __name__ == "__main__":
    take_models(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
