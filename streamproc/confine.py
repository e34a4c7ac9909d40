"""Files that are written stay inside a folder, whatever their names say.

    place = Place.of("recordings", "today/a.frames")   # refuses what can be refused
    fd = place.open(os.O_RDWR | os.O_CREAT)            # and again, race-free

A name is looked up folder by folder from a descriptor of the root, and no link on the
way is followed [openat(2), O_NOFOLLOW], so that nothing can be swapped between the
look and the opening. The root itself may be a link: who runs the graph names it.
What a mount below the root holds counts as inside. Every refusal is a PlacementError.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from streamproc.errors import PlacementError

FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A device or a FIFO that appears after the look neither blocks nor takes the terminal.
SAFE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
MOST_NAME_CHARS = 4000


class Place(NamedTuple):
    """A regular file, there or not, inside a folder. parts: names from the root on."""

    root: Path
    parts: tuple[str, ...]

    @classmethod
    def of(cls, root: str | Path, name: str) -> Place:
        """A place that may be written to. Refuses a name that leads out of the root."""
        _check_text("root", str(root))
        _check_text("path", name)
        base = Path(root).resolve()
        asked = Path(name)
        inner = _inner(base, Path(root), asked)
        if ".." in asked.parts or inner is None:
            raise PlacementError(
                f"{name!r} is not inside {base}; name a file that is, or another root"
            )
        if not inner.parts:
            raise PlacementError(f"{name!r} is the folder {base} itself; name a file")
        place = cls(base, inner.parts)
        with place._folder() as folder:
            place._check(folder)
        return place

    @property
    def path(self) -> Path:
        """For messages; it is not opened by this name."""
        return self.root.joinpath(*self.parts)

    def open(self, flags: int, mode: int = 0o644) -> int:
        """A descriptor of the file, which is regular and has no second name."""
        with self._folder() as folder:
            self._check(folder)
            try:
                fd = os.open(self.parts[-1], flags | SAFE, mode, dir_fd=folder)
            except OSError as error:
                raise self._refusal(error) from error
        try:
            self._check_regular(os.fstat(fd))
            os.set_blocking(fd, True)
        except PlacementError:
            os.close(fd)
            raise
        return fd

    @contextmanager
    def _folder(self) -> Iterator[int]:
        """A descriptor of the folder that the file is in."""
        at = self.root
        try:
            fd = os.open(at, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise PlacementError(f"no folder {at}; create it, or name another") from (
                error
            )
        try:
            for name in self.parts[:-1]:
                at = at / name
                outer, fd = fd, _step(fd, name, at)
                os.close(outer)
            yield fd
        finally:
            os.close(fd)

    def _check(self, folder: int) -> None:
        """What is there already is a regular file. Not opened: a device might act."""
        try:
            found = os.stat(self.parts[-1], dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._refusal(error) from error
        self._check_regular(found)

    def _check_regular(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise PlacementError(
                f"{self.path} is not a regular file; name another, or remove it"
            )
        if found.st_nlink > 1:
            raise PlacementError(
                f"{self.path} is one of {found.st_nlink} names of the same file, which "
                "may be outside; name another, or remove this link"
            )

    def _refusal(self, error: OSError) -> PlacementError:
        if error.errno == errno.ELOOP:
            return PlacementError(
                f"{self.path} is not a regular file but a link; name another"
            )
        return PlacementError(f"cannot write {self.path}: {error.strerror}")


def narrowed(root: str | Path, own: str | Path, name: str) -> str:
    """The name, from `root` on, of a file in `own`, a folder that must be inside.

    For nodes with a root of their own in a graph that has one too: looked up from the
    outer one, no folder on the way can be swapped for a link.
    """
    _check_text("root", str(own))
    _check_text("path", name)
    base = Path(root).resolve()
    folder = _inner(base, Path(root), Path(own))
    if folder is None or ".." in Path(own).parts:
        raise PlacementError(
            f"root {str(own)!r} is not inside {base}, the root of the graph; name a "
            "folder that is"
        )
    leaf = _inner(base / folder, Path(root) / folder, Path(name))
    if leaf is None or ".." in Path(name).parts:
        raise PlacementError(
            f"{name!r} is not inside {base / folder}; name a file that is"
        )
    return str(folder / leaf)


def _step(folder: int, name: str, path: Path) -> int:
    """Descend by one folder. A link, though it lead back inside, is refused."""
    try:
        return os.open(name, FOLDER, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise PlacementError(
                f"{path} is a link or a file, not a folder; name a path without links"
            ) from error
        raise PlacementError(f"no folder {path}; create it, or name another") from error


def _inner(base: Path, root: Path, asked: Path) -> Path | None:
    """A name relative to the root; None for one that is elsewhere."""
    if not asked.is_absolute():
        return asked
    for start in (base, root):
        if asked.is_relative_to(start):
            return asked.relative_to(start)
    return None


def _check_text(key: str, text: str) -> None:
    """Names that logs and other programs would read otherwise than we do."""
    if not text.isprintable():
        raise PlacementError(
            f"{key}: expected a file name, got one with a NUL or another control "
            f"character in it, {text!r:.80}; leave it out"
        )
    if len(text) > MOST_NAME_CHARS:
        raise PlacementError(
            f"{key}: expected at most {MOST_NAME_CHARS} characters, got {len(text)}; "
            "shorten it"
        )
