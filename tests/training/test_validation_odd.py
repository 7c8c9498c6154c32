"""What counts as odd: known answers for days and fences, without Spark; the histogram against numpy, with it."""

from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from training.validation.activity import Activity
from training.validation.fences import QUANTILES, Spread, distributions, spreads

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FIRST = date(2026, 1, 1)


def _days(*volume: int) -> Activity:
    days = {FIRST + timedelta(days=n): rows for n, rows in enumerate(volume) if rows}
    return Activity(days=days, hours=(0,) * 24, types={})


def _at(*days: int) -> list[date]:
    return [FIRST + timedelta(days=n) for n in days]


QUIET = (95, 105, 98, 102, 100, 97, 103, 99, 101)


def test_a_huge_day_hides_no_other() -> None:
    assert _days(*QUIET, 1_000_000, 180, 20, *QUIET).odd_days == _at(9, 10, 11)


def test_known_limits() -> None:
    volume = _days(100, 140, 60, 100, 120, 80)
    assert volume.limits == pytest.approx((100 - 3 * 1.4826 * 20, 100 + 3 * 1.4826 * 20))


def test_days_that_are_all_equal_may_still_vary_as_counts_do() -> None:
    assert _days(*[100] * 9, 129, 131, *[100] * 9).odd_days == _at(10)


def test_a_first_or_last_day_that_is_cut_short_is_not_odd() -> None:
    assert _days(1, *QUIET, 2).odd_days == []
    assert _days(1, *QUIET, 900).odd_days == _at(10)


def test_empty_days_lie_inside_the_range() -> None:
    assert _days(0, 5, 0, 0, 5, 0).empty_days == _at(2, 3)


def test_a_table_without_rows_has_no_odd_days() -> None:
    assert _days().odd_days == _days().empty_days == []


def _spread(values: list[float]) -> Spread:
    smallest, first, median, third, largest, *even = np.quantile(values, QUANTILES, method="inverted_cdf").tolist()
    return Spread(
        smallest=smallest, first=first, median=median, third=third, largest=largest,
        deviation=float(np.abs(np.array(even) - median).mean()), whole=all(float(v).is_integer() for v in values),
    )  # fmt: skip


def test_fences_are_three_interquartile_ranges_out() -> None:
    assert _spread([1.0, 2.0, 3.0, 4.0]).fences == (1 - 3 * 2, 3 + 3 * 2)


def test_where_half_of_the_values_are_equal_the_deviation_takes_over() -> None:
    values = [1.0] * 80 + [2.0] * 19 + [50.0]
    mean_deviation = (19 * 1 + 49) / 100
    assert _spread(values).fences[1] == pytest.approx(1 + 3 * 1.349 * 1.2533 * mean_deviation)
    assert _spread([5.0, 5.0]).fences == (5.0, 5.0)


def test_whole_numbers_lie_in_the_middle_of_their_bins() -> None:
    assert _spread([1, 2, 3, 4]).grid == (0.5, 1.0, 4)
    assert _spread(list(range(100))).grid == (-0.5, 3.0, 34)
    assert _spread([7.0]).grid == (6.5, 1.0, 1)


@pytest.mark.spark
@pytest.mark.parametrize("values", [[*range(50), 400, -300], [0.1, 0.25, 0.5, 0.7, 99.0], [2.0, 2.0], [0.5, 0.5]])
def test_histograms_hold_every_value_once(spark: "SparkSession", values: list[float]) -> None:
    values = [float(value) for value in values]
    found = _spread(values)
    rows = spark.createDataFrame([(value,) for value in [*values, None]], "price double")
    key, tables = ("items", "price"), {"items": rows}
    assert spreads(tables, [key]) == {key: replace(found, deviation=pytest.approx(found.deviation))}
    drawn = distributions(tables, {key: found})[key]
    lower, upper = found.fences
    start, width, bins = found.grid
    inside = [value for value in values if lower <= value <= upper]
    expected, _ = np.histogram(inside, start + width * np.arange(bins + 1))
    assert drawn.bins == tuple(expected)
    assert (drawn.below, drawn.above) == (sum(v < lower for v in values), sum(v > upper for v in values))
