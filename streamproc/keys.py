"""Key folders: a pair of CURVE keys of one's own, and the public keys let in.

    FOLDER/secret         0600  the pair in use: its public key, its secret key
    FOLDER/public               its public key, to be handed out
    FOLDER/previous       0600  the pair before the last rotation, until withdrawn
    FOLDER/allowed/NAME         public keys of NAME, one a line, the newest last

A key is 40 characters of Z85 (ZeroMQ RFC 32). Nothing here makes a key, and nothing
but `Pair.secret` ever holds a secret one: it is in no text that a Pair or an error
gives of itself.
"""

from __future__ import annotations

import ctypes
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from streamproc.errors import PlacementError

SECRET, PUBLIC, PREVIOUS, ALLOWED = "secret", "public", "previous", "allowed"
OWN = "self"  # what one's own pairs are called among those let in
KEY = re.compile(r"[0-9a-zA-Z.:+=^!/*?&<>()\[\]{}@%$#-]{40}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
MOST_BYTES = 1 << 16  # of any of these files
_OTHERS_READ, _OTHERS_WRITE = 0o077, 0o022
_PR_SET_DUMPABLE = 4


class Pair:
    """A public key and its secret one. Only `secret` shows the latter."""

    __slots__ = ("public", "secret")

    def __init__(self, public: str, secret: str) -> None:
        self.public, self.secret = public, secret

    def __repr__(self) -> str:
        return f"Pair({self.public})"


class Shown(NamedTuple):
    """What may be told of a folder: public keys only."""

    public: str
    previous: str
    allowed: dict[str, list[str]]


def make(folder: Path, pair: Pair) -> None:
    """A new folder with this pair. PlacementError when there are keys already."""
    with _told(folder, "a folder that can be made"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_folder(folder)
        (folder / ALLOWED).mkdir(exist_ok=True, mode=0o755)
        if _there(folder / SECRET):
            raise PlacementError(
                f"{folder}: holds keys already; use `streamproc keys rotate`, or "
                "name another folder"
            )
        _write_pair(folder / SECRET, pair)
        _write(folder / PUBLIC, pair.public + "\n", 0o644)


def rotate(folder: Path, pair: Pair) -> str:
    """Put a new pair in use; the one before is let in until withdrawn.

    Returns the public key of the pair before. PlacementError while an earlier one is
    still waiting to be withdrawn.
    """
    before = read_pair(folder)
    if _there(folder / PREVIOUS):
        raise PlacementError(
            f"{folder}: the pair before the last rotation is still let in; first "
            f"`streamproc keys withdraw {folder} {PREVIOUS}`"
        )
    with _told(folder, "a folder that can be written"):
        _write_pair(folder / PREVIOUS, before)
        _write_pair(folder / SECRET, pair)
        _write(folder / PUBLIC, pair.public + "\n", 0o644)
    return before.public


def allow(folder: Path, name: str, public: str) -> None:
    """Let a public key in, beside those that NAME has already."""
    _check_name(folder, name)
    if not KEY.fullmatch(public):
        raise PlacementError(
            f"{name}: expected a public key, 40 characters of Z85, or a file that "
            f"holds one, got {len(public)} characters"
        )
    read_pair(folder)
    known = _allowed(folder)
    if public in (
        key for other, keys in known.items() if other != name for key in keys
    ):
        raise PlacementError(f"{folder}: {public} is let in under another name")
    keys = [key for key in known.get(name, []) if key != public]
    with _told(folder, "a folder that can be written"):
        _write(folder / ALLOWED / name, "\n".join([*keys, public]) + "\n", 0o644)


def withdraw(folder: Path, name: str, public: str = "") -> int:
    """Let NAME, or one of its keys, in no more; `previous` is one's own old pair.

    Returns how many keys went. PlacementError when there are none such.
    """
    if name == PREVIOUS:
        if not _there(folder / PREVIOUS):
            raise PlacementError(f"{folder}: no pair before the one in use")
        with _told(folder, "a folder that can be written"):
            (folder / PREVIOUS).unlink()
        return 1
    _check_name(folder, name)
    keys = _allowed(folder).get(name, [])
    left = [key for key in keys if public and key != public]
    if len(left) == len(keys):
        what = f"{public} of {name!r}" if keys else repr(name)
        raise PlacementError(f"{folder}: {what} is not among those let in")
    with _told(folder, "a folder that can be written"):
        if left:
            _write(folder / ALLOWED / name, "\n".join(left) + "\n", 0o644)
        else:
            (folder / ALLOWED / name).unlink()
    return len(keys) - len(left)


def show(folder: Path) -> Shown:
    """Everything in the folder that may be told."""
    previous = ""
    if _there(folder / PREVIOUS):
        previous = _read_pair(folder / PREVIOUS).public
    return Shown(read_pair(folder).public, previous, _allowed(folder))


def read_pair(folder: Path, public: str = "") -> Pair:
    """The pair in use, or the one of that public key.

    A run goes on with the pair that it began with, whatever is rotated meanwhile.
    Raises PlacementError where there is none, or where others may read it.
    """
    if not _there(folder / SECRET):
        raise PlacementError(
            f"{folder}: no keys there; make them with `streamproc keys make {folder}`"
        )
    _check_folder(folder)
    pair = _read_pair(folder / SECRET)
    if public in ("", pair.public):
        return pair
    if _there(folder / PREVIOUS):
        pair = _read_pair(folder / PREVIOUS)
        if pair.public == public:
            return pair
    raise PlacementError(
        f"{folder}: the pair of {public} is gone; stop the run and start it again"
    )


def read_public(path: Path) -> str:
    """The one key of a file that somebody handed out."""
    keys = _keys(path)
    if len(keys) != 1:
        raise PlacementError(f"{path}: expected one public key, got {len(keys)}")
    return keys[0]


def server_key(folder: Path, name: str) -> str:
    """The newest public key of NAME, which the other end must prove to have."""
    _check_name(folder, name)
    keys = _allowed(folder).get(name)
    if not keys:
        raise PlacementError(
            f"{folder}: no key of {name!r}; add it with `streamproc keys allow "
            f"{folder} {name} PUBLIC`"
        )
    return keys[-1]


class Allowed:
    """Who is let in: one's own pairs and those listed. Follows the folder's changes.

    A folder that cannot be read, or that others may write to, lets nobody in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: list[object] = []
        self._names: dict[str, str] = {}

    def name_of(self, public: str) -> str | None:
        """Whose key it is; None for a stranger's."""
        seen = self._stamps()
        if seen != self._seen or not self._names:  # none: it could not be read
            self._names, self._seen = self._read(), seen
        return self._names.get(public)

    def _stamps(self) -> list[object]:
        """Whatever changes when who is let in does; files may be edited in place."""
        parts = [self.folder / part for part in ("", SECRET, PREVIOUS, ALLOWED)]
        with suppress(OSError):
            parts += sorted((self.folder / ALLOWED).iterdir())
        return [(str(path), _stamp(path)) for path in parts]

    def _read(self) -> dict[str, str]:
        try:
            told = show(self.folder)
        except PlacementError:
            return {}
        names = {key: name for name, keys in told.allowed.items() for key in keys}
        own = [key for key in (told.public, told.previous) if key]
        return {**names, **dict.fromkeys(own, OWN)}


# Files.


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        about = os.stat(path)
    except OSError:
        return ()
    times = about.st_mtime_ns, about.st_ctime_ns
    return (*times, about.st_ino, about.st_size, about.st_mode, about.st_uid)


def _there(path: Path) -> bool:
    with _told(path, "a folder of keys that can be read"):
        return path.exists()


def _allowed(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with _told(folder / ALLOWED, "a folder of public keys"):
        _check_folder(folder / ALLOWED)
        for path in sorted((folder / ALLOWED).iterdir()):
            if NAME.fullmatch(path.name):
                found[path.name] = _keys(path, _refuse_writable)
    return found


def _keys(
    path: Path, refuse: Callable[[Path, os.stat_result], None] | None = None
) -> list[str]:
    """Of a file that `refuse`, given what was opened, finds nothing wrong with."""
    lines = _text(path, refuse).split("\n")
    keys = [line.strip() for line in lines if line.strip()]
    for key in keys:
        if not KEY.fullmatch(key):  # and never shown: it may be a secret
            raise PlacementError(f"{path}: expected public keys, one a line")
    return keys


def _read_pair(path: Path) -> Pair:
    # A core file would hold it. No limit on its size does: the kernel ignores it where
    # cores go to a program's input [core(5)]. Only exec undoes this. [prctl(2)]
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    keys = _keys(path, _refuse_readable)
    if len(keys) != 2:
        raise PlacementError(f"{path}: expected two keys, public and secret")
    return Pair(*keys)


def _text(path: Path, refuse: Callable[[Path, os.stat_result], None] | None) -> str:
    """A plain file's text; no link is followed."""
    with _told(path, "a file that can be read"):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise PlacementError(f"{path}: expected a plain file")
            if refuse is not None:
                refuse(path, about)
            return file.read(MOST_BYTES).decode("ascii", errors="replace")


def _write_pair(path: Path, pair: Pair) -> None:
    _write(path, f"{pair.public}\n{pair.secret}\n", 0o600)


def _write(path: Path, text: str, mode: int) -> None:
    """All of it or nothing, and never readable by more than it will be."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(text.encode())
        file.flush()
        os.fsync(descriptor)
    os.replace(fresh, path)


def _check_folder(path: Path) -> None:
    with _told(path, "a folder of keys"):
        descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY)
        try:
            about = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    _refuse_writable(path, about)


def _refuse_readable(path: Path, about: os.stat_result) -> None:
    _refuse_foreign(path, about)
    if about.st_mode & _OTHERS_READ:
        raise PlacementError(
            f"{path}: others may read the secret key (mode "
            f"{about.st_mode & 0o777:o}); `chmod 600 {path}`, and make a new pair if "
            "somebody has"
        )


def _refuse_writable(path: Path, about: os.stat_result) -> None:
    _refuse_foreign(path, about)
    if about.st_mode & _OTHERS_WRITE:
        raise PlacementError(
            f"{path}: others may write to it (mode {about.st_mode & 0o777:o}), and so "
            f"let themselves in; `chmod go-w {path}`"
        )


def _refuse_foreign(path: Path, about: os.stat_result) -> None:
    if about.st_uid not in (0, os.geteuid()):
        raise PlacementError(
            f"{path}: expected it to belong to root or to user {os.geteuid()}, who "
            f"runs this, got user {about.st_uid}; `chown` it, or run as that user"
        )


def _check_name(folder: Path, name: str) -> None:
    if not NAME.fullmatch(name) or name in (PREVIOUS, OWN):
        raise PlacementError(
            f"{folder}: expected a name of letters, digits, '_' and '-' other than "
            f"{PREVIOUS!r} and {OWN!r}, got {name!r}"
        )


@contextmanager
def _told(path: Path, expected: str) -> Iterator[None]:
    """Errors of the system, as one line of ours."""
    try:
        yield
    except OSError as error:
        raise PlacementError(
            f"{path}: expected {expected}: {error.strerror}"
        ) from error
