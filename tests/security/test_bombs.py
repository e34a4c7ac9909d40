"""S8: what is unpacked is bounded, and nothing else is ever unpacked."""

from __future__ import annotations

import ast
import io
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from streamproc.errors import ArtifactError
from streamproc.nodes.file_source import FileSource, FileSourceConfig
from streamproc.nodes.stacks import MOST_ENTRIES, MOST_NPZ_BYTES
from tests.house.source import (
    PACKAGES,
    ROOT,
    Module,
    matches,
    modules,
    planted,
    told,
)

MIB = 1 << 20
ARCHIVES = "streamproc.nodes.stacks streamproc.models.checkpoint"  # .npz, bounded
UNPACKERS = {"gzip", "bz2", "lzma", "tarfile", "compression"} | {
    *("zstandard", "lz4", "brotli", "blosc", "snappy", "h5py", "tables", "mcap"),
}
CHECKSUMS = {"crc32", "adler32", "error"}  # of zlib


def unpacking(found: Iterable[Module]) -> Iterator[str]:
    for module in found:
        archives = matches(module.name, ARCHIVES)
        for node in module.all_of(ast.Import, ast.ImportFrom):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [getattr(node, "module", None) or ""]
                if names == ["zlib"]:
                    yield f"{module.at(node)}: import zlib whole, that its use shows"
            for name in names:
                package = name.partition(".")[0]
                if package in UNPACKERS or (package == "zipfile" and not archives):
                    yield f"{module.at(node)}: {package} unpacks; bound it, list it"
        for node in module.all_of(ast.Attribute):
            assert isinstance(node, ast.Attribute)
            text = ast.unparse(node)
            if text.startswith("zlib.") and node.attr not in CHECKSUMS:
                yield f"{module.at(node)}: {text}: zlib is for checksums here"
            if "decompress" in node.attr or node.attr == "unpack_archive":
                yield f"{module.at(node)}: {text} has no bound"
            if text in ("np.load", "numpy.load") and not archives:
                yield f"{module.at(node)}: {text} unpacks; use nodes.stacks"


def test_nothing_unpacks_but_what_is_bounded_here() -> None:
    told(unpacking(modules(PACKAGES)))


@pytest.mark.parametrize(
    "text",
    [
        "import gzip",
        "def f():\n    from h5py import File",
        "from zlib import decompress",
        "from zlib import crc32",
        "zlib.decompress(x)",
        "zlib.compressobj()",
        "import zipfile",
        "obj.decompressobj()",
        "np.load(p)",
        "shutil.unpack_archive(p)",
    ],
)
def test_an_unpacker_is_caught(text: str) -> None:
    assert list(unpacking([planted(text)]))


def refused(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        FileSource(FileSourceConfig(path=str(path))).accept()
    return str(caught.value)


def header(shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    filled = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(filled)) + filled.encode()


def of_zeros(path: Path, mib: int) -> None:
    """An archive a thousandth as large as what is in it."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w", force_zip64=True) as entry,
    ):
        entry.write(header((mib * MIB // 8,)))
        for _ in range(mib):
            entry.write(bytes(MIB))


def claim(path: Path, size: int) -> None:
    """Say in the directory that the only entry unpacks to so much."""
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    struct.pack_into("<I", content, at + 24, size)
    path.write_bytes(content)


def test_a_bomb_is_refused_by_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(2):
            archive.writestr(f"x{number}.npy", header((3,)) + bytes(24))
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    for _ in range(2):
        struct.pack_into("<I", content, at + 24, MOST_NPZ_BYTES // 2 + 1 & 0xFFFFFFFF)
        at = content.find(b"PK\x01\x02", at + 1)
    path.write_bytes(content)
    assert "unpack to" in refused(path)


def many(archive: zipfile.ZipFile) -> None:
    for number in range(MOST_ENTRIES + 1):
        archive.writestr(f"x{number}.npy", header((3,)) + bytes(24))


def greedy(archive: zipfile.ZipFile) -> None:
    archive.writestr("x.npy", header((1 << 50,)) + bytes(24))


def twice(archive: zipfile.ZipFile) -> None:
    archive.writestr("x.npy", header((3,)) + bytes(24))
    archive.writestr("x", header((4,)) + bytes(32))


def lzma(archive: zipfile.ZipFile) -> None:
    archive.writestr("x.npy", header((3,)) + bytes(24), zipfile.ZIP_LZMA)


def nested(archive: zipfile.ZipFile) -> None:
    inner = io.BytesIO()
    np.savez(inner, x=np.zeros(3))
    archive.writestr("x.npy", inner.getvalue())


@pytest.mark.parametrize("make", [many, greedy, twice, lzma, nested])
def test_archives_that_ask_for_more_are_refused(
    tmp_path: Path, make: Callable[[zipfile.ZipFile], None]
) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        make(archive)
    assert str(path) in refused(path)


READ = """
import resource, sys
from streamproc.errors import ArtifactError
from streamproc.nodes.file_source import FileSource, FileSourceConfig
node = FileSource(FileSourceConfig(path=sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    node.accept()
    node.open("cpu")
    print("read")
except ArtifactError:
    print("refused")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_directory_that_claims_little_unpacks_to_little(tmp_path: Path) -> None:
    """256 MiB of zeros, 64 KiB by their directory: no more than that is unpacked."""
    path = tmp_path / "a.npz"
    of_zeros(path, 256)
    assert path.stat().st_size < MIB
    claim(path, 1 << 16)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")]),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    what, risen_mib = done.stdout.split()
    assert what == "refused" and int(risen_mib) < 32


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".frames", ".raw"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_what_is_no_file_is_not_waited_for(
    tmp_path: Path, suffix: str, kind: str
) -> None:
    path = tmp_path / f"a{suffix}"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    refused(path)
