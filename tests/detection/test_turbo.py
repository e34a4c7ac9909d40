"""Soft in, soft out: what the detector adds is its own, and a decoder gains by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bench import turbo
from streamproc import OpenNode, Signature, open_node
from streamproc.frame import Array

SYMBOLS = 512
AIR = turbo.Air("impulsive", 6.0)
TELLS: dict[str, Any] = {
    "memory": 4,
    "window": SYMBOLS,
    "lag": 0,
    "pilots": SYMBOLS,
    "pilot_period": 1 << 40,
}


@pytest.fixture
def samples() -> tuple[Array, Array]:
    """A frame of pilots, and one of data."""
    rng = np.random.default_rng(3)
    pilots = turbo.PILOTS.symbols(2)[:SYMBOLS]
    data = np.concatenate([rng.integers(0, 2, SYMBOLS - 3, np.int8), pilots[-3:]])
    return AIR.send(pilots, rng), AIR.send(data, rng)


def opened(kind: str, ports: tuple[str, ...]) -> OpenNode:
    row = Signature.of("f8", {"symbol": SYMBOLS})
    return open_node(kind, signatures=dict.fromkeys(ports, row), **TELLS)


@pytest.fixture
def siso(samples: tuple[Array, Array]) -> Iterator[OpenNode]:
    """One that has learned its channel."""
    with opened("factor_graph.siso", ("observation", "prior")) as node:
        node(samples[0], np.zeros(SYMBOLS))
        yield node


def given(siso: OpenNode, y: Array, prior: Array) -> Any:
    """What a frame makes of a prior, each time from the same beginning."""
    state = {name: np.array(one) for name, one in siso.node.state.items()}
    made = siso(y, prior)
    siso.node.state = state
    return made


def test_extrinsic_is_the_llr_less_its_prior(
    siso: OpenNode, samples: tuple[Array, Array]
) -> None:
    prior = 4 * np.random.default_rng(1).standard_normal(SYMBOLS)
    made = given(siso, samples[1], prior)
    np.testing.assert_array_equal(made.extrinsic, made.llr - prior)
    assert np.abs(made.extrinsic).mean() > 1


def test_extrinsic_does_not_know_the_bits_own_prior(
    siso: OpenNode, samples: tuple[Array, Array]
) -> None:
    prior = np.random.default_rng(1).standard_normal(SYMBOLS)
    changed = prior.copy()
    changed[100] += 5.0
    before, after = (given(siso, samples[1], p).extrinsic for p in (prior, changed))
    assert after[100] == pytest.approx(before[100], abs=1e-9)
    assert np.abs(after - before)[[99, 101]].min() > 1e-3, "its neighbours do"


def test_without_a_prior_it_is_factor_graph(
    siso: OpenNode, samples: tuple[Array, Array]
) -> None:
    made = given(siso, samples[1], np.zeros(SYMBOLS))
    with opened("factor_graph", ("observation",)) as alone:
        alone(samples[0])
        same = alone(samples[1])
    np.testing.assert_allclose(made.llr, same.llr, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(made.extrinsic, made.llr)
    np.testing.assert_array_equal(made.symbols, same.symbols)


def test_code_words_satisfy_their_checks_and_lie_apart() -> None:
    code = turbo.code(400)
    u = np.random.default_rng(0).integers(0, 2, (50, 200))
    words = np.array([code.word(one) for one in u])
    assert not (code.checks @ words.T % 2).any()
    shared = (code.checks.T.astype(int) @ code.checks).toarray()
    np.fill_diagonal(shared, 0)
    assert shared.max() == 1, "a cycle of length four"
    assert set(np.diff(code.checks.indptr)) == {turbo.WEIGHT + 1, turbo.WEIGHT + 2}
    lone = np.array([code.word(one) for one in np.eye(200, dtype=np.uint8)]).astype(int)
    weight, both = lone.sum(axis=1), lone @ lone.T
    apart = weight[:, None] + weight - 2 * both
    np.fill_diagonal(apart, 400)
    assert apart.min() >= turbo.APART * 200


def needs_ldpc() -> None:
    pytest.importorskip("ldpc", reason="NO TURBO LOOP TESTED: pip install ldpc")


def test_the_decoder_gives_exact_posteriors_of_a_code_without_cycles() -> None:
    needs_ldpc()
    from scipy.sparse import csr_matrix

    checks = csr_matrix(np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]], np.uint8))
    llr = np.array([1.0, 0.5, 0.7, -2.0, -0.4])  # whose signs are no code word
    every = np.arange(32)[:, None] >> np.arange(5) & 1
    words = every[~(checks @ every.T % 2).any(axis=0)]
    weight = np.exp(words @ llr)
    one = weight @ words
    posterior = np.log(one / (weight.sum() - one))
    found = turbo.Decoder(turbo.Code(checks, 3), passes=10)(llr)
    np.testing.assert_allclose(found.extrinsic, posterior - llr, atol=1e-9)


def test_iterations_take_the_errors_away() -> None:
    needs_ldpc()
    sender, air = turbo.Sender(), turbo.Air("gaussian", 0.3)
    receiver = turbo.Receiver(sender, air, "mixture")
    wrong = np.array(
        [
            list(receiver.iterations(sender.frame(air, number), 4))
            for number in range(12)
        ]
    )
    first, fourth = wrong.sum(axis=0)[[0, 3]] / (12 * sender.code.information)
    assert first > 0.02
    assert fourth < first / 20


def test_a_learned_mixture_outdoes_a_gaussian_on_impulses() -> None:
    needs_ldpc()
    sender, air = turbo.Sender(), turbo.Air("impulsive", 2.5)
    wrong = {}
    for fit in ("mixture", "gaussian"):
        receiver = turbo.Receiver(sender, air, fit)
        found = [
            list(receiver.iterations(sender.frame(air, number), 2))[-1]
            for number in range(4)
        ]
        wrong[fit] = sum(found)
    assert wrong["mixture"] < wrong["gaussian"] / 20
