"""The file of tuned noise: read back as written, refused when it is something else."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.errors import ArtifactError
from streamproc.evaluation.cases import CASES
from streamproc.evaluation.tracking import model_of
from streamproc.evaluation.tuned import Noise, TunedCase, read, shipped, tuned, write
from streamproc.statespace.fitted import Residual

TUNED = [(case, row) for case in CASES.values() for row in case.rows]
TUNED = [(c, r) for c, r in TUNED if r.tuning != "none" and not c.tuned]


def noise(**more):
    return Noise(Q=0.1 * np.eye(3), R=np.eye(3) / 3, train_db=-6.125, **more)


def test_what_is_written_is_read_back(tmp_path):
    residual = Residual(
        center=np.arange(3) / 7, spread=np.ones(3), coefficients=np.ones((20, 3)) * 1e-9
    )
    case = TunedCase(
        command="streamproc train kalman x",
        rows={"ekf": noise(), "ekf-residual": noise(residual=residual, H=np.eye(3))},
    )
    file = tmp_path / "tuned.toml"
    write(file, {"decimation": case})
    back = read(file.read_text(), "tuned.toml")["decimation"]
    assert back.command == case.command
    assert np.allclose(back.rows["ekf"].R, np.eye(3) / 3, rtol=1e-7)
    assert back.rows["ekf"].residual is None and back.rows["ekf"].H is None
    again = back.rows["ekf-residual"].residual
    assert again is not None
    assert np.allclose(again.center, residual.center, rtol=1e-7)
    assert np.allclose(again.coefficients, residual.coefficients, rtol=1e-7)
    write(tmp_path / "again.toml", {"decimation": back})
    assert (tmp_path / "again.toml").read_text() == file.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "[decimation",
        "[decimation]\nrows = {}",
        "[a]\ncommand = ''\n[a.rows.ekf]\nQ = 1.0\nR = [[1.0]]\ntrain_db = 0",
        "[a]\ncommand = ''\n[a.rows.ekf]\nR = [[1.0]]\ntrain_db = 0",
    ],
)
def test_another_file_is_refused_by_its_name(text):
    with pytest.raises(ArtifactError, match=r"mine\.toml"):
        read(text, "mine.toml")


def test_an_untuned_case_says_how_to_tune_it():
    with pytest.raises(ArtifactError, match="streamproc train kalman nowhere"):
        tuned("nowhere")


@pytest.mark.parametrize(("case", "row"), TUNED, ids=lambda one: one.name)
def test_every_tuned_row_is_in_the_shipped_file(case, row):
    found = tuned(case.name)
    assert found.command.startswith(f"streamproc train kalman {case.name} ")
    made = found.rows[row.name].of(model_of(case, row))
    assert np.linalg.eigvalsh(made.Q)[0] > 0


def test_the_shipped_file_has_no_row_that_no_case_asks_for():
    asked = {(case.name, row.name) for case, row in TUNED}
    held = {(name, row) for name, case in shipped().items() for row in case.rows}
    assert held == asked
