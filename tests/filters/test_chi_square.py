"""Quantiles against SciPy's."""

from __future__ import annotations

import pytest
from scipy.stats import chi2  # type: ignore[import-untyped]

from streamproc.errors import ConfigError
from streamproc.filters.chi_square import exceeded, quantile, survival


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 36, 45, 200])
def test_quantiles_are_those_of_the_distribution(degrees: int) -> None:
    for probability in (0.01, 0.5, 0.99, 1 - 1e-6):
        wanted = chi2.ppf(probability, degrees)
        assert quantile(probability, degrees) == pytest.approx(wanted, rel=1e-8)
    for tail in (1e-3, 1e-9):
        wanted = chi2.isf(tail, degrees)
        assert exceeded(tail, degrees) == pytest.approx(wanted, rel=1e-8)
        assert survival(wanted, degrees) == pytest.approx(tail, rel=1e-6)
    assert survival(0.0, degrees) == 1.0


@pytest.mark.parametrize(("probability", "degrees"), [(0.0, 1), (1.0, 1), (0.5, 0)])
def test_what_has_no_quantile_is_refused(probability: float, degrees: int) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        quantile(probability, degrees)
