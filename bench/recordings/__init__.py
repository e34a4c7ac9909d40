"""What the nodes make of recordings that nobody here made up."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import RESULTS, machine

ROOT = Path(__file__).resolve().parents[2]
SHIPS, INERTIAL = "solent_ais_2016-01-12.csv", "imu_xio.csv"


def recording(name: str) -> Path:
    """A recording: in $STREAMPROC_RECORDINGS, else in shared/data beside the checkout.

    FileNotFoundError names what is missing.
    """
    folder = os.environ.get("STREAMPROC_RECORDINGS") or ROOT.parent / "shared" / "data"
    path = Path(folder) / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{name} is not in {folder}; set STREAMPROC_RECORDINGS to its folder"
        )
    return path


def publish(
    told: str | None,
    name: str,
    judge: Callable[[], tuple[dict[str, dict[str, Any]], Callable[[Path], None]]],
) -> None:
    """The command of a recording: its table printed, and kept with its picture.

    told: what the command does.  judge: gives figures by row, and what draws.
    """
    parser = argparse.ArgumentParser(description=told)
    parser.add_argument("--json", type=Path, default=RESULTS / f"{name}.json")
    parser.add_argument("--png", type=Path, default=RESULTS / f"{name}.png")
    args = parser.parse_args()
    rows, draw = judge()
    for row, figures in rows.items():
        said = (f"{key} {np.round(value, 3)}" for key, value in figures.items())
        print(f"{row:24}", "  ".join(said))
    args.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))
    draw(args.png)
    print(args.png)
