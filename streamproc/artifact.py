"""Trained networks as folders: `model.onnx`, `card.toml` that says what it is, hashes.

    artifact = Artifact.load("lorenz-j2-20", TrackerCard)   # a name, or a folder
    session = artifact.session()                      # from bytes that were checked
    update, = session.run(("update",), feeds)

Nothing in a folder is code. Every file is read once, from a folder that is opened once,
and what is used is those bytes; what does not match `SHA256SUMS`, which sha256sum(1)
reads too, is refused. A graph that names `lorenz-j2-20@PIN` takes that very artifact
and no other: the pin is the hash of the card, which has the hash of the model in it.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np

from streamproc.card import (
    CARDS,
    Card,
    ClutterCard,
    DetectorCard,
    TrackerCard,
    card_text,
)
from streamproc.errors import ArtifactError, PlacementError, nearest, sought
from streamproc.frame import Array
from streamproc.protobuf import check_whole
from streamproc.schema import SchemaError, build, shown

# Its wheel for Linux else starts a thread that reports by HTTPS, when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as refusals

MODEL, CARD, SUMS = "model.onnx", "card.toml", "SHA256SUMS"
MOST_BYTES = {MODEL: 64 << 20, CARD: 1 << 20, SUMS: 1 << 10}
SHIPPED = Path(__file__).parent / "artifacts"
_SUMS = re.compile(
    "".join(rf"([0-9a-f]{{64}})  {re.escape(name)}\n" for name in (CARD, MODEL))
)
_PINNED = re.compile(r"(?s:(.+))@([0-9a-f]{64})")
CardT = TypeVar("CardT", bound=Card)
WantedT = TypeVar("WantedT", TrackerCard, DetectorCard, ClutterCard)
AnyCard = TrackerCard | DetectorCard | ClutterCard
WEIGHT = "weight."  # what outputs that are weights are called, before their name


@dataclass(frozen=True, slots=True, eq=False)
class Artifact(Generic[CardT]):
    """A folder that was read once and is what its card says."""

    folder: str
    card: CardT
    model: bytes

    @classmethod
    def load(cls, name_or_path: str | Path, wanted: type[WantedT]) -> Artifact[WantedT]:
        """A shipped artifact by name, or one in a folder. ArtifactError if it is none.

        wanted: the kind of card that it must have. Names file, expected, got and cure.
        """
        files = _files(name_or_path, (CARD, MODEL))
        place = files.folder
        card = _card(files)
        if not isinstance(card, wanted):
            raise ArtifactError(
                f"{place}/{CARD}: expected a {wanted.__name__}, got kind = "
                f"{card.kind!r}; `streamproc models` lists what there is"
            )
        _check_model(files, card)
        model = files.content[MODEL]
        try:
            check_whole(model)
        except ArtifactError as error:
            raise ArtifactError(f"{place}/{MODEL}: {error}") from error
        return Artifact(place, card, model)

    def session(self, device: Literal["cpu", "gpu"] = "cpu") -> Session:
        """The graph, ready to run. ArtifactError if its ports are not the card's."""
        session = Session(self.model, f"{self.folder}/{MODEL}", device)
        for rows, ports in (
            (self.card.inputs, session.inputs),
            (self.card.outputs, session.outputs),
        ):
            told = {row.name: row.shape for row in rows}
            told |= {k: v for k, v in ports.items() if k.startswith(WEIGHT)}
            if told != ports:
                raise ArtifactError(
                    f"{session.place}: expected the ports of {CARD}, {told}, got "
                    f"{ports}; export the network again"
                )
        return session

    def weights(self) -> dict[str, Array]:
        """Every weight of the network by name, f4, as the file holds it."""
        return self.session().weights()


class Session:
    """An ONNX graph on one thread; sizes are those behind the number of tracks.

    A size that the graph leaves open is 0. A run computes the whole graph, whatever
    outputs it asks for.
    """

    def __init__(self, model: bytes, place: str, device: str = "cpu") -> None:
        self.place = place
        provider = {"cpu": "CPU", "gpu": "CUDA"}[device] + "ExecutionProvider"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=[provider]
            )
        except (*REFUSALS, UnicodeDecodeError) as error:  # it quotes what it read
            raise ArtifactError(
                f"{place}: expected an ONNX graph, got: {str(error).strip():.200}; "
                "export it again"
            ) from error
        if provider not in self._session.get_providers():
            raise PlacementError(
                f"{place}: ONNX Runtime has no {provider} here; use device 'cpu', or "
                "install streamproc[gpu]"
            )
        self.inputs = {one.name: _sizes(one) for one in self._session.get_inputs()}
        self.outputs = {one.name: _sizes(one) for one in self._session.get_outputs()}

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """New arrays from arrays (tracks, ...) f4, any number of tracks."""
        found: list[Array] = self._session.run(list(outputs), dict(feeds))
        return found

    def bound(
        self, feeds: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> Callable[[], None]:
        """A call without arguments from these very arrays to these; saves a quarter.

        All contiguous f4, none of them in both roles.
        """
        binding = self._session.io_binding()
        held = []  # the binding does not keep what it points into
        for name, array in feeds.items():
            held.append((array, onnxruntime.OrtValue.ortvalue_from_numpy(array)))
            binding.bind_ortvalue_input(name, held[-1][1])
        for name, array in outputs.items():
            held.append((array, onnxruntime.OrtValue.ortvalue_from_numpy(array)))
            binding.bind_ortvalue_output(name, held[-1][1])
        session = self._session

        def call(_held: Any = held) -> None:
            session.run_with_iobinding(binding)

        return call

    def weights(self) -> dict[str, Array]:
        """Every weight by name, f4. ArtifactError for others."""
        names = [name for name in self.outputs if name.startswith(WEIGHT)]
        feeds = {k: np.zeros((1, *v), np.float32) for k, v in self.inputs.items()}
        arrays = self.run(names, feeds) if names else []
        for name, array in zip(names, arrays, strict=True):
            if array.dtype != np.float32:
                raise ArtifactError(
                    f"{self.place}: {name!r}: expected numbers of f4, got "
                    f"{array.dtype}; export the network again"
                )
        return {k.removeprefix(WEIGHT): v for k, v in zip(names, arrays, strict=True)}


REFUSALS = (
    refusals.Fail,
    refusals.InvalidArgument,
    refusals.InvalidGraph,
    refusals.InvalidProtobuf,
    refusals.NoSuchFile,
    refusals.NotImplemented,
    refusals.RuntimeException,
)


def shipped() -> tuple[str, ...]:
    """Names of the artifacts that come with the package."""
    if not SHIPPED.is_dir():
        return ()
    return tuple(sorted(one.name for one in SHIPPED.iterdir() if one.is_dir()))


def read_card(name_or_path: str | Path) -> AnyCard:
    """The card of an artifact, whatever kind it is. ArtifactError if it has none."""
    return _card(_files(name_or_path, (CARD,)))


def pin(name_or_path: str | Path) -> str:
    """What stands behind the @ of an artifact that is to be this one and no other."""
    return _files(name_or_path, (CARD,)).digest(CARD)


def seal(folder: Path) -> None:
    """Write the hashes of an artifact as it is; for one that you made or edited.

    ArtifactError where the card does not fit the model: that is no edit.
    """
    with _opened(folder) as fd:
        found = {name: _read(fd, folder, name) for name in (CARD, MODEL)}
        files = _Files(str(folder), found)
        _check_model(files, _card(files))
        lines = [f"{files.digest(name)}  {name}\n" for name in found]
        _write(fd, folder, SUMS, "".join(lines).encode())


class _Files(NamedTuple):
    """A folder's files as they were read, once."""

    folder: str
    content: dict[str, bytes]

    def digest(self, name: str) -> str:
        return hashlib.sha256(self.content[name]).hexdigest()


def _files(name_or_path: str | Path, names: Sequence[str]) -> _Files:
    """Files of an artifact, each with the hash that it should have."""
    pinned = _PINNED.fullmatch(str(name_or_path))
    folder = _folder(pinned[1] if pinned else name_or_path)
    with _opened(folder) as fd:
        found = {name: _read(fd, folder, name) for name in (*names, SUMS)}
    files = _Files(str(folder), found)
    told = _sums(folder, found.pop(SUMS))
    for name in names:
        if files.digest(name) != told.get(name):
            raise ArtifactError(
                f"{folder}/{name}: expected sha256 {told.get(name)} as {SUMS} says, "
                f"got {files.digest(name)}; fetch the artifact again, or, if the "
                f"change is yours, run `streamproc models {folder} --seal`"
            )
    if pinned and files.digest(CARD) != pinned[2]:
        raise ArtifactError(
            f"{folder}/{CARD}: expected the artifact pinned as @{pinned[2]}, got "
            f"@{files.digest(CARD)}; fetch the one that was meant, or pin this one"
        )
    return files


def _check_model(files: _Files, card: AnyCard) -> None:
    digest = files.digest(MODEL)
    if digest != card.sha256:
        raise ArtifactError(
            f"{files.folder}/{MODEL}: expected sha256 {card.sha256} as {CARD} says, "
            f"got {digest}; fetch the artifact again, or make it again with "
            f"`{card.training.command}`"
        )


def _sums(folder: Path, content: bytes) -> dict[str, str]:
    """Hashes by file name."""
    found = _SUMS.fullmatch(content.decode("ascii", "replace"))
    if found is None:
        raise ArtifactError(
            f"{folder}/{SUMS}: expected the hashes of {CARD} and {MODEL} as sha256sum "
            f"writes them, got {content!r:.60}; fetch the artifact again"
        )
    return {CARD: found[1], MODEL: found[2]}


def _folder(name_or_path: str | Path) -> Path:
    if str(name_or_path) in shipped():
        return SHIPPED / str(name_or_path)
    folder = Path(name_or_path)
    if not os.path.isdir(folder):
        raise ArtifactError(
            f"{str(name_or_path)!r:.200}: expected the name of a shipped artifact or a "
            f"folder with {CARD}, {MODEL} and {SUMS}, got neither{sought(folder)}"
            f"{nearest(str(name_or_path), shipped())}"
        )
    return folder


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A folder that stays the same one, whatever its name comes to mean."""
    try:
        fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ArtifactError(
            f"{folder}: cannot be opened: {error.strerror}; check who may read it"
        ) from error
    try:
        yield fd
    finally:
        os.close(fd)


def _read(fd: int, folder: Path, name: str) -> bytes:
    """A regular file of a folder, whole. Links are followed in our own folders only:
    package managers make them, and the folder is as trusted as the code beside it."""
    most = MOST_BYTES[name]
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    if not folder.resolve().is_relative_to(SHIPPED.resolve()):  # ".." leads out
        flags |= os.O_NOFOLLOW
    try:
        file = os.open(name, flags, dir_fd=fd)
    except OSError as error:
        raise _unread(folder, name, error.strerror or "") from error
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise _unread(folder, name, "not a regular file")
        with open(file, "rb", closefd=False) as stream:
            content = stream.read(most + 1)
    finally:
        os.close(file)
    if len(content) > most:
        raise ArtifactError(
            f"{folder}/{name}: expected at most {most} bytes, got more; this is no "
            "artifact of streamproc"
        )
    return content


def _write(fd: int, folder: Path, name: str, content: bytes) -> None:
    """Put a new file in the place of an old one, or of a link, which is not followed.

    ArtifactError where it cannot be written.
    """
    part = f".{name}.{os.urandom(8).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(part, flags, 0o666, dir_fd=fd), "wb") as file:
            file.write(content)
        os.replace(part, name, src_dir_fd=fd, dst_dir_fd=fd)
    except OSError as error:
        with suppress(OSError):
            os.unlink(part, dir_fd=fd)
        raise ArtifactError(
            f"{folder}/{name}: cannot be written: {error.strerror}; check who may "
            "write there, or choose another folder"
        ) from error


def _unread(folder: Path, name: str, why: str) -> ArtifactError:
    cure = f"an artifact is a folder with {CARD}, {MODEL} and {SUMS}"
    if name == SUMS:
        cure = f"if you made it, `streamproc models {folder} --seal` writes it"
    elif (folder / name).is_symlink():
        cure = "copy the file that the link leads to"
    return ArtifactError(f"{folder}/{name}: cannot be read: {why}; {cure}")


def _card(files: _Files) -> AnyCard:
    place = f"{files.folder}/{CARD}"
    try:
        table = tomllib.loads(files.content[CARD].decode())
        kind = table.get("kind")
        if not isinstance(kind, str) or kind not in CARDS:
            raise SchemaError(("kind",), f"one of {', '.join(CARDS)}", shown(kind))
        return build(CARDS[kind], table)
    except SchemaError as error:
        raise ArtifactError(
            f"{place}: {error}; this card was edited, or written by another version of "
            "streamproc"
        ) from error
    except (ValueError, RecursionError) as error:  # too many digits are a ValueError
        got = str(error).partition(";")[0]
        raise ArtifactError(
            f"{place}: expected TOML, got: {got}; fetch or make the artifact again"
        ) from error


def _sizes(port: Any) -> tuple[int, ...]:
    """What stands behind the number of tracks; of a weight, all. 0: any size."""
    sizes = port.shape if port.name.startswith(WEIGHT) else port.shape[1:]
    return tuple(size if isinstance(size, int) else 0 for size in sizes)


def write_artifact(folder: Path, card: CardT, model: bytes) -> CardT:
    """Write card, model and hashes; the card gets that of the model. Returns it."""
    card = replace(card, sha256=hashlib.sha256(model).hexdigest())
    folder.mkdir(parents=True, exist_ok=True)
    with _opened(folder) as fd:
        _write(fd, folder, MODEL, model)
        _write(fd, folder, CARD, card_text(card).encode())
    seal(folder)
    return card
