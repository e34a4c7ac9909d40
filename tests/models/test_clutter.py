"""Unfolded clutter filters: torch and ONNX agree, training helps, cards say so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="NO TORCH: pip install 'streamproc[train]'")
torch.set_num_threads(1)

from streamproc.artifact import Artifact, Session  # noqa: E402
from streamproc.card import ClutterCard  # noqa: E402
from streamproc.clutter.depths import cut  # noqa: E402
from streamproc.errors import ArtifactError, ConfigError, GraphError  # noqa: E402
from streamproc.evaluation.clutter_tuned import tuned  # noqa: E402
from streamproc.frame import Array  # noqa: E402
from streamproc.models.clutter import data, judge, shelf, weights  # noqa: E402
from streamproc.models.clutter import recipe as recipes  # noqa: E402
from streamproc.models.clutter.data import (  # noqa: E402
    SEEDS_APART,
    Source,
    Unseen,
    ungained,
    varied,
)
from streamproc.models.clutter.export import export  # noqa: E402
from streamproc.models.clutter.network import (  # noqa: E402
    Corona,
    Live,
    LiveConfig,
    NetworkConfig,
    orthonormal,
)
from streamproc.models.clutter.recipe import (  # noqa: E402
    ClutterRecipe,
    RecordedData,
    SceneData,
)
from streamproc.models.clutter.recorded import PARTS, Recording  # noqa: E402
from streamproc.models.clutter.train import TrainingConfig, estimate  # noqa: E402
from streamproc.models.clutter.windows import planes, windows  # noqa: E402
from streamproc.sims.patches import draw_patches  # noqa: E402
from streamproc.sims.scene import SPLITS  # noqa: E402
from streamproc.sims.ultrasound import Ultrasound, UltrasoundConfig  # noqa: E402

WINDOW = 8
SMALL = NetworkConfig(window=WINDOW, ranks=(1, 2), channels=4, repeats=1)
SMALL_LIVE = LiveConfig(channels=4, recent=3)
# tissue that is seen to move within so few frames, and bubbles that are seen to
SCENE = UltrasoundConfig(depth_px=16, width_px=16, speed_px=(0.3, 0.85))
RECIPE = ClutterRecipe(
    name="small",
    data=SceneData(
        scene="scene.ultrasound",
        config=SCENE,
        sequences=100,
        streams=30,
        stream_frames=45,
    ),
    network=SMALL,
    live=SMALL_LIVE,
    training=TrainingConfig(steps=120),
    live_training=TrainingConfig(steps=120),
)


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Judged on fewer windows."""
    with pytest.MonkeyPatch.context() as patch:
        for name, count in (("JUDGED", 32), ("JUDGED_STREAMS", 6), ("WATCHED", 32)):
            patch.setattr(data, name, count)
        yield


@pytest.fixture(scope="module")
def begun() -> shelf.Begun:
    return shelf.begin(RECIPE)


@pytest.fixture(scope="module")
def made(begun: shelf.Begun) -> list[shelf.Made]:
    """The second one hardly trained."""
    other = shelf.make(shelf.begin(shorter(RECIPE, 10)), (1,))
    return shelf.make(begun, (0,)) + other


@pytest.fixture(scope="module")
def unseen(begun: shelf.Begun) -> Unseen:
    return begun.source.unseen(SMALL.rank)


def nmse_db(found: Array, unseen: Unseen) -> float:
    error = np.sum(np.abs(found - unseen.truth) ** 2)
    return float(10 * np.log10(error / np.sum(np.abs(unseen.truth) ** 2)))


def shorter(recipe: ClutterRecipe, steps: int) -> ClutterRecipe:
    assert not isinstance(recipe.data, RecordedData)
    fewer = replace(recipe.data, sequences=20, streams=4)
    config = TrainingConfig(steps=steps)
    return replace(recipe, data=fewer, training=config, live_training=config)


def weights_of(made: shelf.Made) -> dict[str, torch.Tensor]:
    both = {"window": made.network, "live": made.live}
    return {
        f"{name}.{key}": weight
        for name, network in both.items()
        for key, weight in network.state_dict().items()
    }


def test_training_finds_bubbles_and_each_layer_more_of_them(
    made: list[shelf.Made], unseen: Unseen
) -> None:
    untrained = nmse_db(estimate(Corona(SMALL), unseen.image), unseen)
    one, two = (
        nmse_db(estimate(made[0].network, unseen.image, k), unseen) for k in (1, 2)
    )
    assert two < -4 and two < untrained - 2
    assert two < one < 0
    for history in made[0].history:
        assert history[-1] < 0.85 * history[0]


def test_equal_seeds_give_equal_weights_and_others_others() -> None:
    short = shelf.begin(shorter(RECIPE, 5))
    first, other, again = (weights_of(shelf.make(short, (k,))[0]) for k in (3, 4, 3))
    for name, weight in first.items():
        assert torch.equal(weight, again[name])
        assert not torch.equal(weight, other[name])


@pytest.mark.parametrize(
    "change",
    [
        lambda x: 1e3 * x,
        lambda x: 1e-3 * x,
        lambda x: np.exp(2.1j) * x,
        np.conj,
    ],
    ids=["louder", "fainter", "turned", "conjugated"],
)
def test_scale_phase_and_conjugation_go_through(
    change: np.ufunc, made: list[shelf.Made], unseen: Unseen
) -> None:
    images, network = unseen.image[:4], made[0].network
    expected = change(estimate(network, images))
    found = estimate(network, change(images).astype(np.complex64))
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def given(config: NetworkConfig, shape: tuple[int, int]) -> list[torch.Tensor]:
    """Image, bubbles known of it, and a basis, as the graph takes them."""
    scene = replace(SCENE, depth_px=shape[0], width_px=shape[1])
    patches = draw_patches(scene, [1], "val", config.window)
    image, scale, basis = windows(patches.image, config.rank)
    sparse = 0.8 * planes(patches.truth) / scale
    return [image[0], sparse[0], basis[0]]


def flat(basis: torch.Tensor) -> Array:
    return torch.cat([basis.real, basis.imag], 1).numpy()


CONFIGS = {
    "small": (SMALL, SMALL_LIVE),
    "usual": (NetworkConfig(), LiveConfig()),
    "plain": (
        NetworkConfig(
            window=8,
            ranks=(1, 1),
            channels=4,
            deep=False,
            pooled=False,
            head=1,
            repeats=0,
        ),
        LiveConfig(layers=1, recent=1, channels=3, deep=False, pooled=False, repeats=0),
    ),
    "narrow": (
        NetworkConfig(window=6, ranks=(2,), channels=3, context=0, filters=1),
        LiveConfig(layers=3, recent=2, channels=3, filters=1),
    ),
}
FOLLOWED = 3  # components that the live network is given


def alike(mine: Array, theirs: torch.Tensor, image: torch.Tensor) -> bool:
    """To 1e-5 of the largest value that goes in: rounding is of that."""
    expected = theirs.numpy()
    assert mine.shape == expected.shape
    return bool(np.abs(mine - expected).max() < 1e-5 * np.abs(image.numpy()).max())


def untrained(config: NetworkConfig, live: LiveConfig) -> tuple[Corona, Live]:
    """With gates that are neither open nor closed everywhere."""
    torch.manual_seed(0)
    networks = Corona(config), Live(live)
    for network in networks:
        for layer in network.layers:
            torch.nn.init.normal_(layer.head.bias)
    return networks


@pytest.mark.parametrize("shape", [(16, 16), (9, 21)], ids=str)
@pytest.mark.parametrize("configs", CONFIGS.values(), ids=CONFIGS)
@torch.no_grad()
def test_onnx_and_torch_agree_on_windows(
    configs: tuple[NetworkConfig, LiveConfig], shape: tuple[int, int]
) -> None:
    network, live = untrained(*configs)
    image, sparse, basis = given(network.config, shape)
    session = Session(cut_to(network, live, "sparse"), "exported")
    feeds = {"image": image.numpy(), "sparse": sparse.numpy(), "basis": flat(basis)}
    expected = network(image[None], sparse[None], basis[None])
    for k, (bubbles, tissue, after) in enumerate(zip(*expected, strict=True), 1):
        names = [f"{name}_{k}" for name in ("sparse", "tissue", "basis")]
        found = session.run(names, feeds)
        assert alike(found[0], bubbles[0], image) and alike(found[1], tissue[0], image)
        # the weakest components are hardly above the noise: rounding turns them most
        assert np.abs(found[2] - flat(after[0])).max() < 1e-4


@pytest.mark.parametrize("shape", [(16, 16), (9, 21)], ids=str)
@pytest.mark.parametrize("configs", CONFIGS.values(), ids=CONFIGS)
@torch.no_grad()
def test_onnx_and_torch_agree_on_the_newest_frame(
    configs: tuple[NetworkConfig, LiveConfig], shape: tuple[int, int]
) -> None:
    network, live = untrained(*configs)
    recent = given(network.config, shape)[0][-live.config.recent :]
    rows = torch.randn(FOLLOWED, shape[0] * shape[1], dtype=torch.complex64)
    rows = orthonormal(rows.T[None])[0].T.reshape(FOLLOWED, *shape)
    scale = 0.5 + torch.rand(shape)
    hear, say = (
        torch.stack([one.real, one.imag], 1) for one in (rows * scale, rows / scale)
    )
    session = Session(cut_to(network, live, "live_sparse"), "exported")
    named = {"recent": recent, "hear": hear, "say": say}
    feeds = {name: array.numpy() for name, array in named.items()}
    expected = live(recent[None], hear[None], say[None])
    for k, (bubbles, tissue) in enumerate(zip(*expected, strict=True), 1):
        found = session.run(
            [f"live_{name}_{k}" for name in ("sparse", "tissue")], feeds
        )
        assert alike(found[0], bubbles[0], recent)
        assert alike(found[1], tissue[0], recent)


def cut_to(network: Corona, live: Live, first: str) -> bytes:
    """The graph of one branch."""
    model = export(network, live, FOLLOWED)
    prefix = first.removesuffix("sparse")
    kinds = ("sparse", "tissue") if prefix else ("sparse", "tissue", "basis")
    count = live.config.layers if prefix else network.config.layers
    return cut(model, [f"{prefix}{k}_{n}" for k in kinds for n in range(1, count + 1)])


def test_weights_come_back_from_the_graph(made: list[shelf.Made]) -> None:
    graph = export(made[0].network, made[0].live, FOLLOWED)
    network, live = weights.load(graph, "there")
    assert (network.config, live.config) == (SMALL, SMALL_LIVE)
    again = weights_of(made[0]._replace(network=network, live=live))
    for name, weight in weights_of(made[0]).items():
        assert torch.equal(weight, again[name])
    with pytest.raises(ArtifactError, match="there: expected an ONNX graph"):
        weights.load(b"nothing", "there")
    folder = Path(__file__).parents[1] / "artifacts" / "tiny-corona"
    with pytest.raises(ArtifactError, match="none to go on from"):
        weights.load((folder / "model.onnx").read_bytes(), "there")


def test_an_artifact_says_what_it_is_and_reaches(
    begun: shelf.Begun, made: list[shelf.Made], tmp_path: Path
) -> None:
    rows = shelf.score(begun, made)
    by_row = {row.row: row for row in rows}
    mine, svd, rival = by_row["corona"], by_row["svd"], by_row["hand-tuned"]
    live, follower = by_row["corona, live"], rows[-1]
    assert live.nmse_db < by_row["stream-svd"].nmse_db < 0 and live.seeds == 2
    assert (follower.row, follower.gain_db) == ("stream-robust", 0)
    assert live.case == f"{mine.case}, streaming"
    assert list(by_row)[:2] == ["corona", "corona, 1 of 2 layers"]
    assert mine.nmse_db < svd.nmse_db
    assert mine.gain_db == pytest.approx(rival.nmse_db - mine.nmse_db, abs=2e-3)
    assert mine.low_db < mine.gain_db < mine.high_db
    assert (rival.gain_db, rival.low_db, rival.high_db) == (0, 0, 0)
    assert mine.each_db[0] == mine.nmse_db != mine.each_db[1] and mine.seeds == 2
    shelf.shelve(begun, made[0], rows, "streamproc train", tmp_path)
    artifact = Artifact.load(tmp_path, ClutterCard)
    card = artifact.card
    assert (card.window, card.rank, card.layers) == (8, 2, 2)
    assert (card.recent, card.live_layers) == (3, 2)
    assert card.memory == RECIPE.followed_by and card.memory.rank == 5
    assert card.training.iterations == 240 and card.metrics == tuple(rows)
    assert card.guard_mean < card.guard_limit
    assert artifact.session().outputs["live_sparse_2"] == (2, 0, 0)


def test_training_goes_on_from_an_artifact(
    begun: shelf.Begun, made: list[shelf.Made], unseen: Unseen, tmp_path: Path
) -> None:
    shelf.shelve(begun, made[0], (), "streamproc train", tmp_path)
    recipe = replace(shorter(RECIPE, 15), network=None, live=None)
    further = shelf.begin(recipe, tmp_path)
    assert (further.config, further.live) == (SMALL, SMALL_LIVE)
    (done,) = shelf.make(further, (0,))
    assert further.base is not None
    network, live = further.base
    before = weights_of(made[0])
    base = weights_of(done._replace(network=network, live=live))
    for name, weight in weights_of(done).items():
        assert torch.equal(base[name], before[name])  # other seeds begin there too
        assert not torch.equal(weight, before[name])
    assert nmse_db(estimate(done.network, unseen.image), unseen) < -3
    with pytest.raises(ConfigError, match=r"network: .* leave it out"):
        other = NetworkConfig(window=8, ranks=(2,))
        shelf.begin(replace(RECIPE, network=other), tmp_path)
    with pytest.raises(ConfigError, match=r"live: .* leave it out"):
        shelf.begin(replace(RECIPE, live=LiveConfig()), tmp_path)
    bare = replace(recipe, training=None, live_training=None)
    for schedule in (bare.schedule, bare.live_schedule):
        assert schedule(further=True).rate < schedule(further=False).rate


def test_bubbles_are_found_without_labels() -> None:
    recipe = replace(shorter(RECIPE, 120), labels="none")
    assert isinstance(recipe.data, SceneData)
    more = replace(recipe.data, sequences=100, streams=8)
    recipe = replace(recipe, data=more, live_training=TrainingConfig(steps=60))
    begun = shelf.begin(recipe)
    made = shelf.make(begun, (0,))
    by_row = {row.row: row.nmse_db for row in shelf.score(begun, made)}
    assert by_row["corona"] < -3.5 and by_row["corona"] < by_row["svd"]
    assert by_row["corona, live"] < -2


def test_what_is_trained_on_is_varied_but_for_its_gain() -> None:
    own = SceneData(scene="scene.ultrasound", config=SCENE, varied=0.5)
    seeds = range(500, 512)
    patches = varied(own, seeds, WINDOW, None)
    assert len(patches.image) == len(patches.truth) == 12
    power_db = 10 * np.log10((np.abs(patches.image) ** 2).mean((1, 2, 3)))
    assert np.ptp(power_db[:6]) > 4 * np.ptp(power_db[6:])  # tissue of any level
    louder = replace(own, ranges=replace(own.ranges, gain_db=(60.0, 60.0)))
    assert np.array_equal(varied(louder, seeds, WINDOW, None).image, patches.image)
    assert ungained(louder.ranges).gain_db == (0.0, 0.0)


@pytest.mark.parametrize("name", recipes.clutter_recipes())
def test_every_recipe_that_comes_along_can_be_read(name: str) -> None:
    recipe = recipes.load_clutter_recipe(name)
    assert recipe.name == name and recipe.what
    config = recipe.network or NetworkConfig()
    assert config.rank < config.window and recipe.followed_by.rank > 0


def test_recipes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="did you mean"):
        recipes.load_clutter_recipe("corona-fats")
    file = tmp_path / "mine.toml"
    for text, said in {
        'labels = "some"\n[data]\nscene = "scene.ultrasound"\n': "labels",
        '[data]\nimages = "a.npy"\n': "nobody knows",
        '[data]\nscene = "scene.isi"\n': "data",
        '[data]\nscene = "scene.ultrasound"\nsequences = 10_001\n': "data",
        '[data]\nscene = "scene.ultrasound"\nstreams = 10_001\n': "data",
        '[data]\nscene = "scene.ultrasound"\nconfig.seed = 3\n': "config.seed",
        'data.scene = "scene.ultrasound_rank1"\ndata.config.split = "val"\n': "split",
        '[data]\nscene = "scene.ultrasound"\nranges.empty = 7.0\n': "data",
        '[data]\nscene = "scene.ultrasound"\n[network]\nranks = [2, 1]\n': "to grow",
    }.items():
        file.write_text(f'name = "mine"\n{text}')
        with pytest.raises(ArtifactError, match=rf"mine\.toml.*{said}"):
            recipes.load_clutter_recipe(str(file))
    most = f"sequences = {recipes.MOST}\nstreams = {recipes.MOST}\n"
    file.write_text(f'name = "mine"\n[data]\nscene = "scene.ultrasound"\n{most}')
    assert recipes.load_clutter_recipe(str(file))
    assert recipes.MOST == SEEDS_APART, "a training seed's sequences are its own"
    with pytest.raises(ConfigError, match="--steps"):
        recipes.shortened(RECIPE, 0, further=False)


def test_rivals_are_the_best_that_are_fair() -> None:
    known = tuned("ultrasound").rivals
    own = recipes.load_clutter_recipe("corona")
    assert list(judge.rivals(own)) == ["svd", "hand-tuned-absolute"]
    louder = replace(
        own, data=SceneData(scene="scene.ultrasound", config=replace(SCENE, gain_db=9))
    )
    fair = judge.rivals(louder)
    assert list(fair) == ["svd", "hand-tuned"]
    assert fair["hand-tuned"].params == known["hand-tuned"].params
    rank1 = judge.rivals(recipes.load_clutter_recipe("corona-rank1"))
    assert rank1["svd"].params == {"rank": 1}


def test_a_limit_is_above_what_was_trained_for(made: list[shelf.Made]) -> None:
    usual, further = Source(RECIPE, WINDOW).usual()
    alone = judge.watch(made[0].network, usual[:32], further[:0])
    both = judge.watch(made[0].network, usual[:32], further[:64])
    assert alone[1:] == both[1:] and alone.limit <= both.limit
    assert alone.limit == pytest.approx(
        alone.mean + judge.USUAL_STD * alone.std, abs=1e-3
    )


def recorded(path: Path, count: int = 140) -> Array:
    scene = Ultrasound(replace(SCENE, gain_db=30.0, width_px=24))
    images = np.array([scene.next()["image"] for _ in range(count)])
    np.save(path, images)
    return images


def test_a_recording_is_learned_from_without_labels(tmp_path: Path) -> None:
    images = recorded(tmp_path / "y.npy")
    images[5, 3, 3] = np.nan
    np.save(tmp_path / "y.npy", images)
    recipe = replace(
        recipes.recorded_recipe(str(tmp_path / "y.npy")),
        network=SMALL,
        live=SMALL_LIVE,
        training=TrainingConfig(steps=60),
        live_training=TrainingConfig(steps=60),
    )
    begun = shelf.begin(recipe)
    made = shelf.make(begun, (0,))
    rows = shelf.score(begun, made)
    beside = [row.row for row in rows if not row.row.startswith("corona")]
    assert beside == ["svd", "hand-tuned", "stream-svd", "stream-robust"]
    assert rows[0].row == "corona" and rows[0].nmse_db < 0
    assert all("unseen end" in row.case for row in rows)
    shelf.shelve(begun, made[0], rows, "streamproc train", tmp_path / "made")
    assert Artifact.load(tmp_path / "made", ClutterCard).card.metrics == tuple(rows)


def test_parts_of_a_recording_are_disjoint_and_bad_images_left_out(
    tmp_path: Path,
) -> None:
    images = recorded(tmp_path / "y.npy", count=200)
    images[:] = np.arange(1, 201)[:, None, None]
    images[20] = np.inf
    images[150] = 0
    np.save(tmp_path / "y.npy", images)
    one = Recording(RecordedData(images=str(tmp_path / "y.npy")), WINDOW)
    assert one.shape == (16, 24)
    ends = [0, *(200 * share for share in PARTS), 200]
    for split, (first, stop) in zip(SPLITS, pairwise(ends), strict=True):
        found = one.windows(split, WINDOW, 1000)
        assert np.isfinite(found).all() and found.all()
        assert first < found.real.min() and found.real.max() <= stop
        assert not (found == 21).any() and not (found == 151).any()
    assert len(one.windows("train", WINDOW, 3)) == 3
    assert one.windows("test", 1000, 5).shape == (1, 30, 16, 24)  # as long as it is


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x.real, "complex images"),
        (lambda x: x[:, 0], "complex images"),
        (lambda x: x[:90], "record longer"),
        (lambda x: x[:, :4], "at least 8 x 8"),
        (lambda x: np.full_like(x, np.nan), "got none in its"),
        (np.zeros_like, "got none in its"),
    ],
    ids=["real", "rows", "short", "small", "nan", "zeros"],
)
def test_recordings_that_do_not_fit_are_refused(
    change: np.ufunc, said: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "y.npy", change(recorded(tmp_path / "y.npy")))
    recipe = recipes.recorded_recipe(str(tmp_path / "y.npy"))
    with pytest.raises(ConfigError, match=said):
        Source(recipe, WINDOW).lessons(0, 8)


def test_a_scene_without_bubbles_is_refused() -> None:
    empty = replace(SCENE, bubbles_least=0, bubbles_most=0)
    recipe = replace(RECIPE, data=SceneData(scene="scene.ultrasound", config=empty))
    with pytest.raises(ConfigError, match="with bubbles"):
        Source(recipe, WINDOW).unseen(2)
