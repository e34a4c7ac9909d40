"""What the tests of the trellis kernels share: channels, and every word there is."""

from itertools import product

import numpy as np

from streamproc_kernels import pick

WINDOW, LAG = 160, 40
SHAPES = [(2, 1), (2, 2), (2, 4), (3, 2), (4, 2)]  # M, L


def uniform(loglik, symbols):
    """No prior, and a state of which nothing is known."""
    sequences, _, classes = loglik.shape
    states = classes // symbols
    return np.empty((sequences, 0, symbols)), np.full((sequences, states), 1 / states)


def posterior(loglik, symbols=2, prior=None, alpha=None, device="cpu", **shape):
    """bcjr with whole sequences as windows unless told: odds, alpha, evidence."""
    total = loglik.shape[1]
    window, lag, keep = (
        shape.get(k, d) for k, d in (("window", total), ("lag", 0), ("keep", total))
    )
    nothing, start = uniform(loglik, symbols)
    prior = nothing if prior is None else prior
    alpha = start if alpha is None else alpha.copy()
    odds = np.empty((len(loglik), keep, symbols))
    evidence = np.empty((len(loglik), keep))
    pick("bcjr", device)(loglik, prior, window, lag, alpha, odds, evidence)
    return odds, alpha, evidence


def isi(rng, count, gamma=0.2, snr_db=6.0):
    """Gaussian log-likelihoods (1, count, 16) of BPSK through taps e^(-gamma l).

    With what was sent (count,), index 1 for +1.
    """
    taps = np.exp(-gamma * np.arange(4))
    variance = 10 ** (-snr_db / 10)
    bits = rng.integers(0, 2, count + 3)
    y = np.convolve(2.0 * bits - 1, taps)[3 : 3 + count]
    y = y + rng.normal(size=count) * np.sqrt(variance)
    classes = np.arange(16)
    means = sum((2.0 * (classes >> lag & 1) - 1) * taps[lag] for lag in range(4))
    return -((y[:, None] - means) ** 2)[None] / (2 * variance), bits[3:]


def words(loglik, prior, alpha):
    """Every start state and word: symbols (W, T), last state (W,), log p (W,).

    loglik (T, C), prior (T, M) log probabilities, alpha (S,).
    """
    total, symbols = prior.shape
    states = len(alpha)
    found = []
    for start, word in product(range(states), product(range(symbols), repeat=total)):
        log_p, state = np.log(alpha[start]), start
        for t, u in enumerate(word):
            c = state * symbols + u
            log_p += loglik[t, c] + prior[t, u]
            state = c % states
        found.append((word, state, log_p))
    every, last, log_p = zip(*found, strict=True)
    return np.array(every), np.array(last), np.array(log_p)


def drawn(shape, total, seed=0):
    """A channel that could be any: loglik (1, T, C), normalised prior, alpha."""
    symbols, memory = shape
    rng = np.random.default_rng([seed, *shape, total])
    loglik = rng.normal(size=(1, total, symbols**memory)) * 2 - 3
    prior = np.log(rng.dirichlet(np.ones(symbols), (1, total)))
    alpha = rng.dirichlet(np.ones(symbols ** (memory - 1)), 1)
    return loglik, prior, alpha
