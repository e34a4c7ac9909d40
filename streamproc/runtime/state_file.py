"""Files of a state folder, opened so that a link put there leads nowhere."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from streamproc.errors import PlacementError


def open_own(path: Path) -> int:
    """A file for reading and writing, made if there is none, for its owner alone.

    PlacementError for a link: what it leads to is not this run's to write.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise PlacementError(
            f"{path}: expected a file of the run's own, got a link; remove the folder "
            "or name another --state"
        ) from error
