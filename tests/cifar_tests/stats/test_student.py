"""Student's t against tables, closed forms and itself; the interval and the paired test by hand."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar.stats.student import cdf, mean_interval, paired_t, quantile, regularized_beta, two_sided_p

TABLE = [  # degrees of freedom; t at 0.95, 0.975, 0.995, as any table of the t distribution gives them
    (1, 6.314, 12.706, 63.657),
    (2, 2.920, 4.303, 9.925),
    (3, 2.353, 3.182, 5.841),
    (4, 2.132, 2.776, 4.604),
    (9, 1.833, 2.262, 3.250),
    (30, 1.697, 2.042, 2.750),
    (120, 1.658, 1.980, 2.617),
]


@pytest.mark.parametrize(("df", "t95", "t975", "t995"), TABLE)
def test_quantiles_are_those_of_the_table(df: int, t95: float, t975: float, t995: float) -> None:
    assert [quantile(p, df) for p in (0.95, 0.975, 0.995)] == pytest.approx([t95, t975, t995], abs=6e-4)


@given(st.floats(-1e6, 1e6))
def test_closed_forms(t: float) -> None:
    assert cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-12)
    assert cdf(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)), abs=1e-12)


@given(st.floats(1e-9, 1 - 1e-9), st.integers(1, 200))
def test_the_quantile_inverts_the_distribution(p: float, df: int) -> None:
    assert cdf(quantile(p, df), df) == pytest.approx(p, rel=1e-9)


@given(st.floats(0, 50), st.floats(0, 50), st.integers(1, 200))
def test_the_distribution_is_symmetric_and_rises(a: float, b: float, df: int) -> None:
    low, high = sorted((a, b))
    assert cdf(-high, df) <= cdf(-low, df) <= 0.5 <= cdf(low, df) <= cdf(high, df) <= 1
    assert cdf(a, df) + cdf(-a, df) == pytest.approx(1)
    assert two_sided_p(a, df) == two_sided_p(-a, df) == pytest.approx(2 * cdf(-a, df))


@pytest.mark.parametrize("t", [0.01, 0.5, 2.0, 3.5])
def test_many_degrees_of_freedom_are_the_normal_distribution(t: float) -> None:
    assert cdf(t, 1e7) == pytest.approx(NormalDist().cdf(t), abs=1e-7)


@given(st.integers(1, 12), st.integers(0, 20), st.floats(0, 1))
def test_the_beta_function_is_a_binomial_tail(m: int, more: int, x: float) -> None:
    """DLMF 8.17.5."""
    n = m + more
    tail = math.fsum(math.comb(n, j) * x**j * (1 - x) ** (n - j) for j in range(m, n + 1))
    assert regularized_beta(m, n - m + 1, x) == pytest.approx(tail, abs=1e-12)


@pytest.mark.parametrize(("p", "df"), [(0, 3), (1, 3), (float("nan"), 3), (0.5, 0)])
def test_a_quantile_needs_a_probability(p: float, df: float) -> None:
    with pytest.raises(ValueError, match="a quantile needs"):
        quantile(p, df)


def test_the_interval_of_a_mean_by_hand() -> None:
    """Mean 0.82, standard deviation 0.02, three values: 0.82 -+ 4.303 * 0.02 / sqrt(3)."""
    half = 4.302653 * 0.02 / math.sqrt(3)
    assert mean_interval([0.80, 0.82, 0.84]) == pytest.approx((0.82 - half, 0.82 + half), abs=1e-7)
    assert mean_interval([0.8]) is None
    assert mean_interval([0.8, 0.8]) is None


def test_the_paired_test_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, standard error 1 / sqrt(3), t = 2 sqrt(3); two degrees of freedom in closed form."""
    t = 2 * math.sqrt(3)
    result = paired_t([1, 2, 3])
    assert result.difference == 2
    assert result.p == pytest.approx(1 - t / math.sqrt(2 + t * t))  # 0.0742
    half = 4.302653 / math.sqrt(3)
    assert result.interval == pytest.approx((2 - half, 2 + half), abs=1e-6)


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=10))
def test_the_interval_leaves_out_0_where_the_test_rejects_it(differences: list[int]) -> None:
    result, turned = paired_t(differences), paired_t([-d for d in differences])
    assert (result.difference, result.p) == (-turned.difference, turned.p)
    assert 0 <= result.p <= 1
    if result.interval and abs(result.p - 0.05) > 1e-9:
        low, high = result.interval
        assert (low > 0 or high < 0) == (result.p < 0.05)


@pytest.mark.parametrize("differences", [[0.0], [0.3], [0.0, 0.0, 0.0], [0.01, 0.01]])
def test_without_spread_nothing_is_shown(differences: list[float]) -> None:
    result = paired_t(differences)
    assert (result.difference, result.interval, result.p) == (differences[0], None, 1.0)
