"""What the nodes make of recordings that nobody here made up."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results"
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
