"""ekf_step against the textbook, the reduced filter, and the Riccati limit."""

from itertools import product

import numpy as np
import pytest

from streamproc_kernels import pick

# cond(S) stays below 1e3 here, so eps64 * cond leaves twelve digits
CLOSE = {"rtol": 0, "atol": 1e-11}


def spd(rng, n):
    root = rng.normal(size=(n, 3, 3))
    return root @ root.mT + np.eye(3)


@pytest.fixture
def track():
    rng = np.random.default_rng(5)
    return {
        "x_pred": rng.normal(size=(40, 3)),
        "jacobian": np.eye(3) + 0.3 * rng.normal(size=(40, 3, 3)),
        "P": spd(rng, 40),
        "y": rng.normal(size=(40, 3)),
        "H": rng.normal(size=(3, 3)),
        "Q": 0.1 * spd(rng, 1)[0],
        "R": spd(rng, 1)[0],
    }


def step(track, device="cpu"):
    n = len(track["x_pred"])
    out = np.empty((n, 3)), np.empty((n, 3, 3)), np.empty(n)
    pick("ekf_step", device)(*track.values(), *out)
    return out


def textbook(x, F, P, y, H, Q, R):
    prior = F @ P @ F.T + Q
    S = H @ prior @ H.T + R
    K = prior @ H.T @ np.linalg.inv(S)
    v = y - H @ x
    return x + K @ v, prior - K @ H @ prior, v @ np.linalg.inv(S) @ v


@pytest.mark.parametrize("device", ["ref", "cpu"])
def test_step_agrees_with_the_textbook(track, device):
    x, P, nis = step(track, device)
    for i in range(len(x)):
        F, prior, y = track["jacobian"][i], track["P"][i], track["y"][i]
        wanted = textbook(
            track["x_pred"][i], F, prior, y, track["H"], track["Q"], track["R"]
        )
        np.testing.assert_allclose(x[i], wanted[0], **CLOSE)
        np.testing.assert_allclose(P[i], wanted[1], **CLOSE)
        np.testing.assert_allclose(nis[i], wanted[2], **CLOSE)


@pytest.mark.parametrize("device", ["ref", "cpu"])
@pytest.mark.parametrize("seen", list(product([False, True], repeat=3))[1:])
def test_missing_components_equal_the_smaller_filter(track, device, seen):
    keep = np.array(seen)
    track["y"][:, ~keep] = np.nan
    x, P, nis = step(track, device)
    H, R = track["H"][keep], track["R"][np.ix_(keep, keep)]
    for i in range(len(x)):
        F, prior, y = track["jacobian"][i], track["P"][i], track["y"][i][keep]
        wanted = textbook(track["x_pred"][i], F, prior, y, H, track["Q"], R)
        np.testing.assert_allclose(x[i], wanted[0], **CLOSE)
        np.testing.assert_allclose(P[i], wanted[1], **CLOSE)
        np.testing.assert_allclose(nis[i], wanted[2], **CLOSE)


@pytest.mark.parametrize("device", ["ref", "cpu"])
def test_nothing_seen_only_predicts(track, device):
    track["y"][...] = np.nan
    x, P, nis = step(track, device)
    F = track["jacobian"]
    np.testing.assert_array_equal(x, track["x_pred"])
    np.testing.assert_allclose(P, F @ track["P"] @ F.mT + track["Q"], **CLOSE)
    assert np.isnan(nis).all()


def test_covariance_is_symmetric_to_the_bit_and_positive(track):
    P = step(track)[1]
    np.testing.assert_array_equal(P, P.mT)
    assert np.linalg.eigvalsh(P).min() > 0


def test_covariance_reaches_the_riccati_limit():
    eye = np.eye(3)
    track = {
        "x_pred": np.zeros((1, 3)), "jacobian": eye[None], "P": 50 * eye[None],
        "y": np.zeros((1, 3)), "H": eye, "Q": 0.3 * eye, "R": 2 * eye,
    }  # fmt: skip
    for _ in range(200):
        track["P"] = step(track)[1]
    # p = (p + q) r / (p + q + r): the positive root of p^2 + q p - q r = 0
    limit = (-0.3 + np.sqrt(0.3**2 + 4 * 0.3 * 2)) / 2
    np.testing.assert_allclose(track["P"][0], limit * eye, **CLOSE)


def test_nis_of_a_matched_filter_averages_its_degrees_of_freedom():
    rng = np.random.default_rng(11)
    n = 20_000
    P, R, H = spd(rng, 1)[0], spd(rng, 1)[0], rng.normal(size=(3, 3))
    truth = rng.multivariate_normal(np.zeros(3), P, n)
    y = truth @ H.T + rng.multivariate_normal(np.zeros(3), R, n)
    still = np.broadcast_to(np.eye(3), (n, 3, 3)).copy()
    every_p = np.broadcast_to(P, (n, 3, 3)).copy()
    out = np.empty((n, 3)), np.empty((n, 3, 3)), np.empty(n)
    pick("ekf_step", "cpu")(
        np.zeros((n, 3)), still, every_p, y, H, np.zeros((3, 3)), R, *out
    )
    # variance of chi-squared with 3 degrees is 6
    assert abs(out[2].mean() - 3) < 4 * np.sqrt(6 / n)


def test_shapes_that_do_not_agree_are_refused(track):
    track["y"] = track["y"][:-1].copy()
    for device in ("ref", "cpu"):
        with pytest.raises(ValueError, match="ekf_step"):
            step(track, device)
