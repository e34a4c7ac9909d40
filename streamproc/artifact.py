"""Trained networks as folders: `model.onnx`, and `card.toml` that says what it is.

    artifact = Artifact.load("lorenz-j2-20", TrackerCard)   # a name, or a folder
    session = artifact.session()                      # from bytes that were checked
    update, = session.run(("update",), feeds)

Nothing in a folder is code; what does not match its card is refused.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as refusals

from streamproc.card import (
    CARDS,
    Card,
    ClutterCard,
    DetectorCard,
    TrackerCard,
    card_text,
)
from streamproc.errors import ArtifactError, PlacementError, nearest
from streamproc.frame import Array
from streamproc.schema import SchemaError, build, shown

MODEL, CARD = "model.onnx", "card.toml"
MOST_BYTES = {MODEL: 64 << 20, CARD: 1 << 20}
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
        folder = _folder(name_or_path)
        place = str(folder)
        card = _card(folder)
        if not isinstance(card, wanted):
            raise ArtifactError(
                f"{place}/{CARD}: expected a {wanted.__name__}, got kind = "
                f"{card.kind!r}; `streamproc models` lists what there is"
            )
        model = _read(folder, MODEL)
        digest = hashlib.sha256(model).hexdigest()
        if digest != card.sha256:
            raise ArtifactError(
                f"{place}/{MODEL}: expected sha256 {card.sha256} as {CARD} says, got "
                f"{digest}; fetch the artifact again, or make it again with "
                f"`{card.training.command}`"
            )
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
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=[provider]
            )
        except REFUSALS as error:
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
        names = [name for name in self.outputs if name.startswith(WEIGHT)]
        feeds = {k: np.zeros((1, *v), np.float32) for k, v in self.inputs.items()}
        arrays = self.run(names, feeds) if names else []
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
    folder = resources.files("streamproc") / "artifacts"
    if not folder.is_dir():
        return ()
    return tuple(sorted(one.name for one in folder.iterdir() if one.is_dir()))


def _folder(name_or_path: str | Path) -> Any:
    if str(name_or_path) in shipped():
        return resources.files("streamproc") / "artifacts" / str(name_or_path)
    folder = Path(name_or_path)
    if not folder.is_dir():
        raise ArtifactError(
            f"{name_or_path}: expected the name of a shipped artifact or a folder with "
            f"{CARD} and {MODEL}, got neither{nearest(str(name_or_path), shipped())}"
        )
    return folder


def _read(folder: Any, name: str) -> bytes:
    most = MOST_BYTES[name]
    try:
        with (folder / name).open("rb") as file:
            content: bytes = file.read(most + 1)
    except OSError as error:
        raise ArtifactError(
            f"{folder}/{name}: cannot be read: {error.strerror}; an artifact is a "
            f"folder with {CARD} and {MODEL}"
        ) from error
    if len(content) > most:
        raise ArtifactError(
            f"{folder}/{name}: expected at most {most} bytes, got more; this is no "
            "artifact of streamproc"
        )
    return content


def read_card(name_or_path: str | Path) -> AnyCard:
    """The card of an artifact, whatever kind it is. ArtifactError if it has none."""
    return _card(_folder(name_or_path))


def _card(folder: Any) -> AnyCard:
    place = f"{folder}/{CARD}"
    content = _read(folder, CARD)
    try:
        table = tomllib.loads(content.decode())
        kind = table.get("kind")
        if kind not in CARDS:
            raise SchemaError(("kind",), f"one of {', '.join(CARDS)}", shown(kind))
        return build(CARDS[kind], table)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ArtifactError(
            f"{place}: expected TOML, got: {error}; fetch or make the artifact again"
        ) from error
    except SchemaError as error:
        raise ArtifactError(
            f"{place}: {error}; this card was edited, or written by another version of "
            "streamproc"
        ) from error


def _sizes(port: Any) -> tuple[int, ...]:
    """What stands behind the number of tracks; of a weight, all. 0: any size."""
    sizes = port.shape if port.name.startswith(WEIGHT) else port.shape[1:]
    return tuple(size if isinstance(size, int) else 0 for size in sizes)


def write_artifact(folder: Path, card: CardT, model: bytes) -> CardT:
    """Write both files; the card gets the hash of the model. Returns it."""
    card = replace(card, sha256=hashlib.sha256(model).hexdigest())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(model)
    (folder / CARD).write_text(card_text(card))
    return card
