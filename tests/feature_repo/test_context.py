"""What a request says becomes the same columns one by one (serving) and many at once (training)."""

import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.context import RequestContext, context_array, context_arrays
from feature_repo.schema import CONTEXT_WIDTH, DEVICES, PLACEMENTS, REFERRERS, SCHEMA, SYSTEMS

SATURDAY_SIX = datetime(2026, 9, 26, 6, tzinfo=UTC)
ZONES = (None, "Europe/Berlin", "Asia/Kolkata", "America/Sao_Paulo", "Pacific/Apia", "Mars/Olympus", "../etc/passwd")


def column(array: np.ndarray, name: str) -> float:
    return float(array[SCHEMA.offset(f"context_{name}")])


def test_time_is_cyclical_in_utc_and_in_the_time_zone() -> None:
    array = context_array(RequestContext(at=SATURDAY_SIX, time_zone="Asia/Kolkata"))
    week = 10 * math.pi / 7
    utc = [column(array, n) for n in ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos", "weekend", "daypart")]
    np.testing.assert_allclose(utc, [1, 0, math.sin(week), math.cos(week), 1, 1], atol=5e-4)
    assert column(array, "utc_offset") == 5.5
    half_past_eleven = 2 * math.pi * 11.5 / 24
    assert column(array, "local_hour_sin") == pytest.approx(math.sin(half_past_eleven), abs=5e-4)
    assert column(array, "local_hour_cos") == pytest.approx(math.cos(half_past_eleven), abs=5e-4)


def test_daylight_saving_counts() -> None:
    winter, summer = (
        context_array(RequestContext(at=datetime(2026, month, 2, tzinfo=UTC), time_zone="Europe/Berlin"))
        for month in (1, 7)
    )
    assert (column(winter, "utc_offset"), column(summer, "utc_offset")) == (1.0, 2.0)


def test_the_same_moment_elsewhere_is_the_same_context() -> None:
    elsewhere = SATURDAY_SIX.astimezone(timezone(timedelta(hours=9)))
    one, other = (context_array(RequestContext(at=at)) for at in (SATURDAY_SIX, elsewhere))
    assert np.array_equal(one, other)


def test_what_is_unknown_is_zero() -> None:
    array = context_array(RequestContext(at=SATURDAY_SIX, device="fridge", country="Narnia", time_zone="Mars/Olympus"))
    names = ("device", "country", "system", "language", "placement", "referrer", "session_depth", "utc_offset")
    assert [column(array, name) for name in names] == [0.0] * len(names)


@given(
    at=st.datetimes(datetime(1999, 1, 1), datetime(2037, 1, 1)),
    device=st.sampled_from((None, "fridge", *DEVICES)),
    system=st.sampled_from((None, *SYSTEMS)),
    country=st.sampled_from((None, "DE", "us", "Narnia")),
    language=st.sampled_from((None, "de", "pt-BR", "zh_Hant", "")),
    zone=st.sampled_from(ZONES),
    placement=st.sampled_from((None, *PLACEMENTS)),
    referrer=st.sampled_from((None, *REFERRERS)),
    depth=st.integers(-5, 400),
)
def test_serving_and_training_agree_bit_for_bit(
    at: datetime,
    device: str | None,
    system: str | None,
    country: str | None,
    language: str | None,
    zone: str | None,
    placement: str | None,
    referrer: str | None,
    depth: int,
) -> None:
    served = context_array(
        RequestContext(
            at=at.replace(tzinfo=UTC),
            device=device,
            system=system,
            country=country,
            language=language,
            time_zone=zone,
            placement=placement,
            referrer=referrer,
            session_depth=depth,
        ),
        position=3,
    )
    trained = context_arrays(
        np.array([at], "datetime64[us]"),
        device=[device],
        system=[system],
        country=[country],
        language=[language],
        time_zone=[zone],
        placement=[placement],
        referrer=[referrer],
        session_depth=[depth],
        position=[3],
    )
    assert trained.shape == (1, CONTEXT_WIDTH)
    assert trained[0].tobytes() == served.tobytes()
