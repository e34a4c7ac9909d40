"""Leftovers: folders of runs that were killed before they could clear up."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from streamproc.runtime.plan import LOCK, MARK
from streamproc.runtime.quarantine import FOLDER

PREFIX = "streamproc-"
YOUNG_S = 60.0  # a run that is just starting has a folder, but no lock yet


def sweep(base: str | None) -> list[Path]:
    """Remove what dead runs of this user left in memory; returns the folders.

    A run that lives holds the lock in its folder. What a dead one set aside stays, as
    does a folder that somebody named with --state: to go on with it is up to them.
    """
    swept = []
    for folder in Path(base or tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if _is_ours(folder) and _is_dead(folder) and leave(folder) is None:
            swept.append(folder)
    return swept


def _is_ours(folder: Path) -> bool:
    try:
        about = folder.lstat()
    except OSError:
        return False
    old = time.time() - about.st_mtime > YOUNG_S
    return old and folder.is_dir() and about.st_uid == os.getuid()


def _is_dead(folder: Path) -> bool:
    if os.path.lexists(folder / MARK):
        return False
    try:
        held = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:  # interrupted before it had one
        return not any(folder.iterdir())
    except OSError:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(held)


def leave(folder: Path) -> Path | None:
    """Remove a run's folder at its end, but for frames set aside; where those are."""
    kept = folder / FOLDER
    if not kept.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        return None
    forget(folder)
    (folder / LOCK).unlink(missing_ok=True)
    return kept


def forget(folder: Path) -> None:
    """Empty a state folder in which nothing has come about, so that it binds nobody.

    But for its lock, which another run may be about to take.
    """
    for path in folder.iterdir():
        if path.name != LOCK:
            with suppress(OSError):
                path.unlink()
