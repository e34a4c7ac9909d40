"""What all that train have in common: what they need, and what they leave."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

NEEDS = "training needs torch and onnx: pip install 'streamproc[train]'"
PICTURE = "learning.png"


def spelt(command: str, given: dict[str, Any]) -> str:
    """A command line with what was given, by option; None was not."""
    said = (f"--{k} {shlex.quote(str(v))}" for k, v in given.items() if v is not None)
    return " ".join((command, *said))


def drawn(folder: Path, draw: Callable[[Path], None]) -> list[Path]:
    """The picture of learning; none, and the cure, where matplotlib is missing."""
    try:
        draw(folder / PICTURE)
    except ImportError:
        print(f"no {PICTURE}: pip install 'streamproc[ui]'", file=sys.stderr)
        return []
    return [folder / PICTURE]
