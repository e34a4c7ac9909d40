"""What a machine lends to a fault: a small disk, a stepped clock, eyes on memory."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


def why_no_disk(folder: Path) -> str:
    """Why no small disk can be mounted at a folder; empty if one can."""
    if not shutil.which("mount"):
        return "mount is not installed"
    tried = subprocess.run(_mount(folder, 1 << 20), capture_output=True, check=False)
    if tried.returncode:
        return f"mounting is not allowed: {tried.stderr.decode().strip()}"
    subprocess.run(["umount", str(folder)], check=True)
    return ""


def _mount(folder: Path, size: int) -> list[str]:
    return ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]


@contextmanager
def small_disk(folder: Path, size: int = 4 << 20) -> Iterator[Path]:
    """A folder on a disk of so many bytes."""
    folder.mkdir(exist_ok=True)
    subprocess.run(_mount(folder, size), check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave: int = 0) -> Path:
    """Fill a disk with one file, but for so many bytes; the file, to be removed."""
    path = folder / "filler"
    size = 0
    with path.open("wb") as file:
        while (free := _free(folder) - leave) > 0:
            with suppress(OSError):  # somebody else took some of it meanwhile
                os.posix_fallocate(file.fileno(), size, free)
                size += free
    return path


def _free(folder: Path) -> int:
    told = os.statvfs(folder)
    return told.f_bavail * told.f_frsize


class SteppedClock:
    """The time of day of processes that are started with `env` can be set.

    libfaketime makes Python's own time.sleep fail (EINVAL), so it is Python that is
    told another time: a sitecustomize in a folder of theirs adds what a file says.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ahead"
        set_ahead(folder, 0)
        lies = folder / "lies"
        lies.mkdir()
        (lies / "sitecustomize.py").write_text(_LIAR.format(file=str(self._file)))
        path = f"{lies}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        self.env = {**os.environ, "PYTHONPATH": path}

    def step(self, ahead_s: int) -> None:
        """Set the clock so many seconds ahead of the true time."""
        set_ahead(self._file.parent, ahead_s)


def set_ahead(folder: Path, ahead_s: int) -> None:
    """As `SteppedClock.step`, for processes started with the `env` of that folder."""
    fresh = folder / "ahead.new"
    fresh.write_text(f"{ahead_s}")
    fresh.rename(folder / "ahead")


_LIAR = """
import time
from pathlib import Path

_true_ns, _file = time.time_ns, Path({file!r})
time.time_ns = lambda: _true_ns() + int(_file.read_text()) * 1_000_000_000
time.time = lambda: time.time_ns() / 1e9
"""


def rss_bytes(pid: int) -> int:
    """Resident memory of a process; 0 if it is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    """CPU time of a process and of its children that were waited for; 0: it is gone."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, told[11:15])) / os.sysconf("SC_CLK_TCK")


def descriptors(pid: int) -> int:
    """Open file descriptors of a process; 0 if it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def total(of: Sequence[int]) -> int:
    """Resident memory of several processes."""
    return sum(map(rss_bytes, of))
