"""Where recordings are found; what is absent is skipped by its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def recording() -> Callable[[str], Path]:
    """A recording by its file's name: in $STREAMPROC_RECORDINGS, else in the folder
    shared/data beside the checkout. Skips the test where it is in neither.
    """

    def found(name: str) -> Path:
        told = os.environ.get("STREAMPROC_RECORDINGS")
        folder = Path(told) if told else ROOT.parent / "shared" / "data"
        if not (folder / name).is_file():
            pytest.skip(
                f"recording {name} is absent; set STREAMPROC_RECORDINGS to its folder"
            )
        return folder / name

    return found
