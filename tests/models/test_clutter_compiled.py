"""The clutter filter's compiled layers against PyTorch, and what they refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import numpy as np
import pytest

from streamproc import open_node
from streamproc.artifact import Artifact, shipped
from streamproc.card import ClutterCard
from streamproc.clutter.compiled.layers import CompiledLayers
from streamproc.clutter.compiled.networks import Newest, Window
from streamproc.clutter.compiled.plan import (
    compilable,
    live_network,
    window_network,
)
from streamproc.clutter.layers import OnnxLayers
from streamproc.errors import ArtifactError
from streamproc.frame import Array
from streamproc.sims.ultrasound import Ultrasound, UltrasoundConfig

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from streamproc.models.clutter.export import export  # noqa: E402
from streamproc.models.clutter.network import (  # noqa: E402
    LiveConfig,
    NetworkConfig,
)
from tests.models.test_clutter import (  # noqa: E402
    CONFIGS,
    FOLLOWED,
    alike,
    flat,
    given,
    orthonormal,
    untrained,
)

SHAPES = [(16, 16), (9, 21), (33, 8)]
Configs = tuple[NetworkConfig, LiveConfig]
ABLE = {
    name: pair for name, pair in CONFIGS.items() if pair[0].pooled and pair[1].pooled
} | {
    "slight": (
        NetworkConfig(window=7, ranks=(1, 3), channels=6, taps=3, deep=False, head=1),
        LiveConfig(layers=2, recent=1, channels=2, taps=3, filters=4, head=1),
    )
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("configs", ABLE.values(), ids=ABLE)
@torch.no_grad()
def test_compiled_and_torch_agree_on_windows(
    configs: Configs, shape: tuple[int, int]
) -> None:
    whole, live = untrained(*configs)
    image, sparse, basis = given(whole.config, shape)
    model = export(whole, live, FOLLOWED)
    run = Window(window_network(model, "here"), shape)
    expected = whole(image[None], sparse[None], basis[None])
    for k, (bubbles, tissue, after) in enumerate(zip(*expected, strict=True), 1):
        found = run(k, image.numpy(), sparse.numpy(), flat(basis))
        assert alike(found[0], bubbles[0], image) and alike(found[1], tissue[0], image)
        assert np.abs(found[2] - flat(after[0])).max() < 1e-4


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("configs", ABLE.values(), ids=ABLE)
@torch.no_grad()
def test_compiled_and_torch_agree_on_the_newest_frame(
    configs: Configs, shape: tuple[int, int]
) -> None:
    whole, live = untrained(*configs)
    recent = given(whole.config, shape)[0][-live.config.recent :]
    rows = torch.randn(FOLLOWED, shape[0] * shape[1], dtype=torch.complex64)
    rows = orthonormal(rows.T[None])[0].T.reshape(FOLLOWED, *shape)
    scale = 0.5 + torch.rand(shape)
    hear, say = (
        torch.stack([one.real, one.imag], 1) for one in (rows * scale, rows / scale)
    )
    model = export(whole, live, FOLLOWED)
    run = Newest(live_network(model, "here"), FOLLOWED, shape)
    expected = live(recent[None], hear[None], say[None])
    for k, (bubbles, tissue) in enumerate(zip(*expected, strict=True), 1):
        found = run(k, recent.numpy(), hear.numpy(), say.numpy())
        assert alike(found[0], bubbles[0], recent)
        assert alike(found[1], tissue[0], recent)


def scene(shape: tuple[int, int], frames: int) -> Array:
    config = UltrasoundConfig(depth_px=shape[0], width_px=shape[1], split="val")
    sequence = Ultrasound(config)
    return np.array([sequence.next()["image"] for _ in range(frames)])


@pytest.mark.parametrize("tissue", ["window", "followed"])
@pytest.mark.parametrize("name", [n for n in shipped() if n.startswith("corona")])
def test_both_engines_filter_alike(name: str, tissue: str) -> None:
    shape = (33, 40)
    artifact = Artifact.load(name, ClutterCard)
    if tissue == "followed" and artifact.card.memory is None:
        pytest.skip("windows only")
    images = scene(shape, 45)
    both = []
    for engine in ("numba", "onnx"):
        node = open_node("corona", model=name, tissue=tissue, engine=engine)
        both.append([node(image).bubbles for image in images])
    compiled, onnx = map(np.array, both)
    assert onnx[25:].any()
    # a gate that is half open turns what rounding left into some more
    assert np.abs(compiled - onnx).max() < 1e-5 * np.abs(images).max()


def test_what_cannot_be_compiled_is_refused_or_left_to_onnx_runtime() -> None:
    whole, live = untrained(*CONFIGS["plain"])
    model = export(whole, live, FOLLOWED)
    assert not compilable(model)
    with pytest.raises(ArtifactError, match="here: expected pooled gates"):
        window_network(model, "here")
    artifact = Artifact.load("tests/artifacts/tiny-corona", ClutterCard)
    assert not compilable(artifact.model)
    with pytest.raises(ArtifactError, match=r"expected weights named weight\.window"):
        CompiledLayers(artifact)


def test_weights_that_are_not_the_cards_are_refused() -> None:
    artifact = Artifact.load("corona-fast", ClutterCard)
    other = Artifact.load("corona", ClutterCard)
    mixed = Artifact(artifact.folder, artifact.card, other.model)
    with pytest.raises(ArtifactError, match="expected weights of frames"):
        CompiledLayers(mixed)


def test_a_room_is_only_a_place_to_put_images() -> None:
    artifact = Artifact.load("corona-fast", ClutterCard)
    layers = CompiledLayers(artifact)
    rng = np.random.default_rng(3)
    image = rng.standard_normal((artifact.card.window, 2, 12, 15), np.float32)
    basis = np.linalg.qr(rng.standard_normal((artifact.card.window, 6)))[0]
    basis = basis.astype(np.float32)[:, : 2 * artifact.card.rank]
    nothing = np.zeros_like(image)
    expected = [one.copy() for one in layers(2, image, nothing, basis)]
    room = layers.room((12, 15))
    room[...] = image
    for mine, theirs in zip(layers(2, room, nothing, basis), expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    onnx = OnnxLayers(artifact, "cpu").room((12, 15))
    assert onnx.shape == room.shape == image.shape


def forged(pattern: str, change: Callable[[Array], Array], **configs: object) -> bytes:
    """corona-fast with other weights, by name, or with another config."""
    model = onnx.load_model_from_string(Artifact.load("corona-fast", ClutterCard).model)
    for n, tensor in enumerate(model.graph.initializer):
        if re.fullmatch(rf"weight\.window\.layers\.{pattern}", tensor.name):
            array = change(onnx.numpy_helper.to_array(tensor)).astype(np.float32)
            made = onnx.numpy_helper.from_array(np.ascontiguousarray(array))
            made.name = tensor.name
            model.graph.initializer[n].CopyFrom(made)
    for row in model.metadata_props:
        if row.key == "window" and configs:
            row.value = json.dumps({**json.loads(row.value), **configs})
    return bytes(model.SerializeToString())


FORGED: dict[str, bytes] = {
    "gain": forged(r"0\.gain", lambda a: np.ones(5000)),
    "flat gain": forged(r"0\.gain", lambda a: a.reshape(2, 1)),
    "kernels": forged(r"1\.kernels\.[zx]", lambda a: np.ones((4000, 5))),
    "one kernel": forged(r"0\.kernels\.x", lambda a: a[:1]),
    "taps": forged(r"0\.kernels\.z", lambda a: np.ones((2, 7))),
    "encode": forged(r"0\.encode\.weight", lambda a: a[:, :2]),
    "bias": forged(r"1\.encode\.bias", lambda a: np.ones(6000)),
    "head": forged(r"0\.head\.bias", lambda a: a[:0]),
    "steps": forged(r"0\.step", lambda a: np.ones(1_000_000)),
    "not finite": forged(r"1\.head\.weight", lambda a: a * np.nan),
    "context": forged("", lambda a: a, context=2),
    "ranks": forged("", lambda a: a, ranks=[-3, 3]),
    "one rank": forged("", lambda a: a, ranks=[3]),
    "wide head": forged("", lambda a: a, head=3),
    "no config": forged("", lambda a: a, filters="two"),
}


@pytest.mark.parametrize("model", FORGED.values(), ids=FORGED)
def test_sizes_that_compiled_code_relies_on_are_held_against_the_config(
    model: bytes,
) -> None:
    with pytest.raises(ArtifactError, match=r"here: window: .*expected.*export"):
        window_network(model, "here")


@pytest.mark.parametrize("text", ["3", "[]", "{", "[" * 100_000])
def test_a_config_that_is_none_is_refused(text: str) -> None:
    model = onnx.load_model_from_string(Artifact.load("corona-fast", ClutterCard).model)
    (row,) = [row for row in model.metadata_props if row.key == "live"]
    row.value = text
    with pytest.raises(ArtifactError, match="here: live: "):
        live_network(model.SerializeToString(), "here")
