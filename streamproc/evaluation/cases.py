"""The cases of the tracker: what is seen, what filters believe, and who competes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from streamproc.errors import GraphError, nearest
from streamproc.evaluation.recording import Pool, Spoil
from streamproc.filters.chi_square import exceeded

Tuning = Literal["none", "q2", "full", "residual", "sensor"]
Kind = Literal["kf", "ekf", "ukf", "particle", "kalmannet"]

GATE = exceeded(1e-6, 3)  # of the NIS of three components


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One competitor.

    kind: of filter.
    params: of the model, where they differ from the case's.
    tuning: how Q and R were found on the training split; none: the model's own.
    artifact: of a learned one.
    what: for a table.
    """

    name: str
    kind: Kind
    params: Mapping[str, Any] = field(default_factory=dict)
    tuning: Tuning = "none"
    artifact: str = ""
    what: str = ""

    @property
    def believes(self) -> str:
        """How its f and h differ from those that the case gives to all."""
        told = [f"{key} = {value}" for key, value in self.params.items()]
        return ", ".join([*told, self.tuning] if self.fitted else told)

    @property
    def fitted(self) -> bool:
        """Whether f or h was mended, not the noise alone."""
        return self.tuning in ("residual", "sensor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One contest: every row sees the same observations and starts alike.

    scene, config, frames: of the trajectories, without seed and split.
    model, params: what filters believe.
    tuned: the case whose tuned noise is used, if not its own.
    scored: components of the state; none: all.
    gate: of the NIS.
    blocks: whether the first and the last tenth are compared.
    folds: times as many trajectories as are asked for, where they are short.
    """

    name: str
    what: str
    scene: str
    config: Mapping[str, Any]
    frames: int
    model: str
    params: Mapping[str, Any]
    rows: tuple[Row, ...]
    tuned: str = ""
    scored: tuple[int, ...] = ()
    spoil: Spoil = "none"
    gate: float = float("inf")
    blocks: bool = False
    folds: int = 1

    def pool(self, split: Any, seed: int, trajectories: int, frames: int = 0) -> Pool:
        """Trajectories of this case."""
        return Pool(
            scene=self.scene,
            config=self.config,
            split=split,
            seed=seed,
            trajectories=trajectories,
            frames=frames or self.frames,
        )


RK4 = {"f": "rk4"}
EKF_Q2 = Row(name="ekf", kind="ekf", tuning="q2", what="q2 by grid")
EKF_FULL = Row(name="ekf-full", kind="ekf", tuning="full", what="Q, R by gradient")
UKF = Row(name="ukf", kind="ukf", tuning="q2", what="q2 by grid")
PARTICLE = Row(name="particle", kind="particle", tuning="q2", what="q2 by grid")

DECIMATED_ROWS = (
    EKF_Q2,
    EKF_FULL,
    UKF,
    PARTICLE,
    Row(name="ekf-rk4", kind="ekf", params=RK4, tuning="q2", what="better f"),
    Row(name="ukf-rk4", kind="ukf", params=RK4, tuning="q2", what="better f"),
    Row(name="ekf-residual", kind="ekf", tuning="residual", what="f + cubic residual"),
    Row(name="kalmannet", kind="kalmannet", artifact="lorenz-decimated"),
    Row(
        name="kalmannet-rk4",
        kind="kalmannet",
        params=RK4,
        artifact="lorenz-decimated-rk4",
        what="better f",
    ),
)

DECIMATED = Case(
    name="decimation",
    what="Lorenz seen every 0.02 at 0 dB; f is one Taylor step",
    scene="scene.lorenz",
    config={"x0": "attractor", "r2": 1.0},
    frames=3000,
    model="lorenz",
    params={"f": "taylor", "order": 5, "r2": 1.0},
    rows=DECIMATED_ROWS,
)


def _stressed(name: str, what: str, **changes: Any) -> Case:
    return replace(DECIMATED, name=name, what=what, tuned=DECIMATED.name, **changes)


def _discrete(
    name: str, what: str, inverse_r2_db: float, frames: int, rows: tuple[Row, ...]
) -> Case:
    """Lorenz whose truth is the discrete model itself, q2 = r2 / 100."""
    r2 = 10 ** (-inverse_r2_db / 10)
    noise = {"q2": r2 / 100, "r2": r2}
    return Case(
        name=name,
        what=what,
        scene="scene.statespace",
        config={
            "model": "lorenz",
            "params": {"order": 5, **noise},
            "x0": "attractor",
        },
        frames=frames,
        model="lorenz",
        params={"order": 5, **noise},
        rows=rows,
    )


def _full(db: int) -> Case:
    rows = (
        Row(name="ekf", kind="ekf", what="true Q, R"),
        Row(name="ukf", kind="ukf", what="true Q, R"),
        Row(name="particle", kind="particle", what="true Q, R"),
        Row(name="kalmannet", kind="kalmannet", artifact=f"lorenz-full-{db}"),
    )
    what = f"Lorenz, everything known, 1/r2 = {db} dB"
    return _discrete(f"full-{db}", what, db, 2000, rows)


def _coarse(db: int) -> Case:
    rows = (
        Row(name="ekf-nominal", kind="ekf", what="q2 of the data"),
        EKF_Q2,
        EKF_FULL,
        UKF,
        Row(name="ekf-order5", kind="ekf", params={"order": 5}, what="the data's f"),
        Row(name="kalmannet", kind="kalmannet", artifact=f"lorenz-j2-{db}"),
    )
    what = f"Lorenz, data of order 5, f of order 2, 1/r2 = {db} dB"
    case = _discrete(f"j2-{db}", what, db, 2000, rows)
    return replace(case, params={**case.params, "order": 2})


def _rotated() -> Case:
    rows = (
        Row(name="ekf-nominal", kind="ekf", what="noise of the data"),
        EKF_Q2,
        EKF_FULL,
        UKF,
        Row(name="ekf-sensor", kind="ekf", tuning="sensor", what="H by least squares"),
        Row(name="kalmannet", kind="kalmannet", artifact="lorenz-rotated"),
    )
    case = _discrete(
        "rotated", "Lorenz, sensor tilted by 1 degree, 20 dB", 20, 1000, rows
    )
    told = {**case.config["params"], "rotation_deg": 1.0}
    return replace(case, config={**case.config, "params": told})


def _linear(db: int) -> Case:
    r2 = 10 ** (-db / 10)
    eye = ((1.0, 0.0), (0.0, 1.0))
    params = {
        "F": ((1.0, 1.0), (0.0, 1.0)),
        "H": eye,
        "Q": tuple(tuple(r2 / 100 * v for v in row) for row in eye),
        "R": tuple(tuple(r2 * v for v in row) for row in eye),
    }
    rows = (
        Row(name="kf", kind="kf", what="optimal"),
        Row(name="kalmannet", kind="kalmannet", artifact=f"linear-{db}"),
    )
    return Case(
        name=f"linear-{db}",
        what=f"F = [[1, 1], [0, 1]], H = I, q2 = r2 / 100, 1/r2 = {db} dB",
        scene="scene.statespace",
        config={"model": "linear", "params": params, "x0": (0.0, 0.0)},
        frames=100,
        folds=10,
        model="linear",
        params=params,
        rows=rows,
    )


WORN = {"wheel_scale": 1.1}

ROBOT = Case(
    name="robot",
    what="wheeled robot on worn tyres: GPS, wheel speed, gyro, compass; m2 of position",
    scene="scene.statespace",
    config={
        "model": "wheeled_robot",
        "params": {"compass": True, **WORN},
        "x0": (0.0, 0.0, 0.0, 1.0, 0.0),
    },
    frames=1000,
    model="wheeled_robot",
    params={"compass": True},
    scored=(0, 1),
    rows=(
        Row(name="ekf", kind="ekf", what="true Q, R"),
        EKF_FULL,
        Row(name="ukf", kind="ukf", what="true Q, R"),
        Row(name="ekf-worn", kind="ekf", params=WORN, what="told of the tyres"),
        Row(name="kalmannet", kind="kalmannet", artifact="wheeled-robot"),
    ),
)

_ALL = (
    DECIMATED,
    _stressed("long", "decimation, ten times as long", frames=30_000, blocks=True),
    _stressed(
        "noisier",
        "decimation, four times the variance, untold",
        config={**DECIMATED.config, "r2": 4.0},
    ),
    _stressed("missing", "decimation, a tenth of the frames lost", spoil="missing"),
    _stressed(
        "outliers", "decimation, 1 % of components 20 sigma off", spoil="outliers"
    ),
    _stressed(
        "outliers-gated", "the same, gated by the NIS", spoil="outliers", gate=GATE
    ),
    _rotated(),
    _coarse(20),
    _coarse(30),
    _full(0),
    _full(20),
    _linear(0),
    _linear(20),
    ROBOT,
)

CASES: dict[str, Case] = {case.name: case for case in _ALL}


def case_named(name: str) -> Case:
    """GraphError for a name that is none."""
    if name not in CASES:
        raise GraphError(f"no case {name!r}{nearest(name, CASES)}")
    return CASES[name]
