"""PSI against answers worked out by hand, and the bins it is counted in."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from feature_repo.vectors import Floats
from training.drift.psi import (
    COMMONEST,
    EPSILON,
    MOST_BINS,
    NOISE,
    Bins,
    code_bins,
    minimum_rows,
    noise,
    number_bins,
    psi,
    shares,
    status_of,
    tenths,
)

UNEQUAL = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.75, 0.0])


def column(*values: float, times: int = 100) -> Floats:
    return np.repeat(np.array(values, np.float32), times)


def moved(reference: Floats, current: Floats, kind: str = "number") -> float:
    bins = (number_bins if kind == "number" else code_bins)(reference)
    return psi(shares(bins, current), shares(bins, reference))


def normal(n: int, mean: float = 0.0, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(mean, 1.0, n).astype(np.float32)


def test_psi_by_hand() -> None:
    """(0.5 − 0.25) ln 2 + (0.5 − 0.75) ln(2/3) = 0.2747, but for the smoothing."""
    by_hand = 0.25 * math.log(2) - 0.25 * math.log(2 / 3)
    assert psi(*UNEQUAL) == pytest.approx(by_hand, abs=3e-4)
    p, q = ([(x + EPSILON) / (1 + 3 * EPSILON) for x in side] for side in UNEQUAL)
    assert psi(*UNEQUAL) == pytest.approx(sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True)), abs=1e-12)


def test_equal_distributions_are_at_zero_whatever_the_rows() -> None:
    assert psi(UNEQUAL[0], UNEQUAL[0]) == 0.0
    assert moved(column(1, 2, 3), column(1, 2, 3, times=7)) == pytest.approx(0.0, abs=1e-15)


def test_a_shifted_normal_is_where_its_deciles_say() -> None:
    """N(0.5, 1) against the deciles of N(0, 1): each bin's probability from the normal distribution itself."""
    cuts = norm.ppf(np.arange(1, 10) / 10)
    probabilities = np.diff(np.concatenate([[0.0], norm.cdf(cuts - 0.5), [1.0]]))
    exact = sum((p - 0.1) * math.log(p / 0.1) for p in probabilities)
    assert exact == pytest.approx(0.2377, abs=1e-4)  # δ² = 0.25 without bins
    assert moved(normal(400_000), normal(400_000, mean=0.5, seed=1)) == pytest.approx(exact, abs=0.01)


def test_new_missing_values_show() -> None:
    reference, current = normal(20_000), normal(20_000, seed=1)
    current[:2_000] = np.nan
    current[2_000:2_100] = np.inf
    bins = number_bins(reference)
    assert shares(bins, current)[-1] == pytest.approx(0.105)
    assert moved(reference, current) > 0.2


def test_values_outside_the_reference_range_show_even_where_the_last_decile_would_hold_them() -> None:
    reference = normal(20_000)
    current = np.where(reference > np.quantile(reference, 0.95), reference * 100, reference).astype(np.float32)
    bins = number_bins(reference)
    assert shares(bins, reference)[[0, -2]].tolist() == [0.0, 0.0]
    assert shares(bins, current)[-2] == pytest.approx(0.05, abs=0.001)
    assert moved(reference, current) > 0.2


@pytest.mark.parametrize("value", [0.0, 3.0, -7.5, 1e-38])
def test_a_constant_stays_at_zero_and_any_other_value_shows(value: float) -> None:
    reference = column(value)
    assert shares(number_bins(reference), reference).tolist() == [0.0, 1.0, 0.0, 0.0]
    assert moved(reference, reference) == 0.0
    for other in (value - 1, value + 1):
        assert moved(reference, column(*[value] * 9, other)) > 0.2


def test_a_reference_that_was_never_there() -> None:
    reference = column(math.nan)
    assert moved(reference, reference) == 0.0
    assert 0.2 < moved(reference, column(1.0)) < math.inf


@pytest.mark.parametrize("ones", [0.02, 0.5, 0.98])
def test_a_flag_has_its_own_bins_however_rare(ones: float) -> None:
    reference = (np.arange(1000) < ones * 1000).astype(np.float32)
    assert [s for s in shares(number_bins(reference), reference) if s] == pytest.approx([1 - ones, ones])
    assert moved(reference, 1 - reference) == pytest.approx(0.0, abs=1e-12) if ones == 0.5 else True
    assert moved(reference, column(0.0)) > (0.05 if ones == 0.02 else 0.2)


def test_zero_inflation_leaves_zero_alone_and_the_rest_in_its_deciles() -> None:
    reference = np.concatenate([np.zeros(700), np.arange(1, 301)]).astype(np.float32)
    assert shares(number_bins(reference), reference).tolist() == pytest.approx([0, 0.7, 0.1, 0.1, 0.1, 0, 0])


def test_tenths_are_values_of_the_column() -> None:
    assert tenths(np.arange(1.0, 11.0)).tolist() == [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert tenths(np.array([5.0])).tolist() == [5.0] * 11
    assert tenths(np.array([1.0, 1.0, 1.0, 2.0])).tolist() == [1.0] * 8 + [2.0] * 3


def test_few_distinct_values_have_a_bin_each() -> None:
    reference = column(0, 1, 2, 5)
    assert [s for s in shares(number_bins(reference), reference) if s] == [0.25] * 4
    assert moved(reference, column(0, 1, 2, 3)) == pytest.approx(0.0, abs=1e-12)  # what lies between is its upper's


def test_a_new_code_shows_and_rare_ones_share_a_bin() -> None:
    reference = column(1, 2, 3)
    assert code_bins(reference) == Bins(kind="code", edges=(1.0, 2.0, 3.0))
    assert moved(reference, column(1, 2, 3, 9), "code") > 0.2
    many = np.repeat(np.arange(30), np.arange(30, 0, -1)).astype(np.float32)
    assert code_bins(many).edges == tuple(range(COMMONEST))
    assert shares(code_bins(many), many)[-2] == pytest.approx(sum(range(1, 11)) / sum(range(1, 31)))


def test_codes_know_no_order() -> None:
    """A code between two known ones is another code, not part of an interval."""
    assert shares(Bins(kind="code", edges=(1.0, 4.0)), column(1, 2, 4, 5, math.nan)).tolist() == [0.2, 0.2, 0.4, 0.2]


def test_labels_name_every_bin() -> None:
    for values in (normal(1000), column(0), column(math.nan)):
        for bins in (number_bins(values), code_bins(values)):
            assert len(bins.labels()) == len(bins)
    assert number_bins(column(0, 3)).labels() == ["< 0", "0", "0 – 3", "> 3", "missing"]


def test_no_rows_have_no_shares() -> None:
    with pytest.raises(ValueError, match="no values"):
        shares(number_bins(column(1)), np.array([], np.float32))


@pytest.mark.parametrize(
    ("value", "says"), [(0.0, "stable"), (0.0999, "stable"), (0.1, "moderate"), (0.1999, "moderate"), (0.2, "drifted")]
)
def test_thresholds(value: float, says: str) -> None:
    assert status_of(value) == says


def test_sampling_noise_is_what_the_formula_says() -> None:
    """Mean PSI of 300 pairs of samples of one distribution, ten bins that all hold rows."""
    rng = np.random.default_rng(0)
    values = [psi(*(rng.multinomial(n, [0.1] * 10) / n for n in (1000, 4000))) for _ in range(300)]
    assert np.mean(values) == pytest.approx(noise(10, 1000, 4000), rel=0.1)


@pytest.mark.parametrize("reference", [1_100, 3_000, 50_000])
def test_the_minimum_is_the_least_that_keeps_the_noise_down(reference: int) -> None:
    rows = minimum_rows(reference)
    assert rows is not None
    assert noise(MOST_BINS, rows, reference) < NOISE <= noise(MOST_BINS, rows - 1, reference)


def test_a_small_reference_can_never_be_compared_with() -> None:
    assert minimum_rows(1000) is None
    assert minimum_rows(1) is None


def split(weights: list[float]) -> np.ndarray:
    return np.array(weights) / sum(weights)


weights = st.lists(st.floats(0.0, 1e6), min_size=6, max_size=6).filter(lambda w: sum(w) > 0)


@given(weights.map(split), weights.map(split))
def test_psi_is_finite_symmetric_and_never_negative(p: np.ndarray, q: np.ndarray) -> None:
    assert 0.0 <= psi(p, q) < math.inf
    assert psi(p, q) == pytest.approx(psi(q, p), abs=1e-12)
    assert psi(p, p) == 0.0


anything = st.lists(st.floats(width=32) | st.sampled_from([0.0, 1.0, 2.0, -0.0]), min_size=1, max_size=200)


@settings(max_examples=200)
@given(anything, anything)
def test_any_column_has_bins_and_every_value_one_of_them(reference: list[float], current: list[float]) -> None:
    for make in (number_bins, code_bins):
        bins = make(np.array(reference, np.float32))
        assert len(bins) <= MOST_BINS
        assert list(bins.edges) == sorted(set(bins.edges))
        for values in (reference, current):
            found = shares(bins, np.array(values, np.float32))
            assert len(found) == len(bins)
            assert found.sum() == pytest.approx(1.0)
        assert found.min() >= 0.0
