"""What a request says of itself, as the context group's columns: one request when serving, many in training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from feature_repo.schema import DAYPARTS, DEVICES, PLACEMENTS, REFERRERS, SYSTEMS, country_code, language_code
from feature_repo.vectors import Floats, Ints, columns_to_array

Texts = Sequence[str | None] | npt.NDArray[np.object_]

DAY_MINUTES = 24 * 60
DAYPART_MINUTES = DAY_MINUTES // len(DAYPARTS)
FIRST_WEEKDAY = 3  # 1970-01-01 was a Thursday
WEEKDAYS = 7
LONGEST_SESSION = 255
QUARTER = 15  # minutes; no time zone changes its offset inside a quarter of an hour


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """What a request says of itself; what it leaves out is unknown. `at` must carry a time zone."""

    at: datetime
    device: str | None = None
    system: str | None = None
    country: str | None = None
    language: str | None = None
    time_zone: str | None = None
    placement: str | None = None
    referrer: str | None = None
    session_depth: int = 0


def context_array(request: RequestContext, position: float = 0.0) -> Floats:
    """What is known of the request itself: [CONTEXT_WIDTH], equal to the row of `context_arrays`."""
    minute = int(request.at.timestamp() // 60)
    offset = _offset(request.time_zone, minute // QUARTER) if request.time_zone else 0
    clock = _CLOCK[minute % DAY_MINUTES]
    weekday = _WEEK[(minute // DAY_MINUTES + FIRST_WEEKDAY) % WEEKDAYS]
    said = (
        offset / 60,
        minute % DAY_MINUTES // DAYPART_MINUTES,
        _index(DEVICES, request.device),
        _index(SYSTEMS, request.system),
        country_code(request.country),
        language_code(request.language),
        _index(PLACEMENTS, request.placement),
        _index(REFERRERS, request.referrer),
        min(max(request.session_depth, 0), LONGEST_SESSION),
        position,
    )
    local = _CLOCK[(minute + offset) % DAY_MINUTES]
    return np.concatenate((clock, weekday, local, np.array(said, np.float32)))


def context_arrays(
    at: npt.NDArray[np.datetime64],
    *,
    device: Texts,
    system: Texts,
    country: Texts,
    language: Texts,
    time_zone: Texts,
    placement: Texts,
    referrer: Texts,
    session_depth: npt.ArrayLike,
    position: npt.ArrayLike,
) -> Floats:
    """n requests → [n, CONTEXT_WIDTH]. `at` is UTC."""
    minutes = at.astype("datetime64[m]").astype(np.int64)
    offset = _offsets(minutes, time_zone)
    clock, local = _CLOCK[minutes % DAY_MINUTES], _CLOCK[(minutes + offset) % DAY_MINUTES]
    week = _WEEK[(minutes // DAY_MINUTES + FIRST_WEEKDAY) % WEEKDAYS]
    columns = {
        "context_hour_sin": clock[:, 0],
        "context_hour_cos": clock[:, 1],
        "context_weekday_sin": week[:, 0],
        "context_weekday_cos": week[:, 1],
        "context_weekend": week[:, 2],
        "context_local_hour_sin": local[:, 0],
        "context_local_hour_cos": local[:, 1],
        "context_utc_offset": offset / 60,
        "context_daypart": minutes % DAY_MINUTES // DAYPART_MINUTES,
        "context_device": _codes(device, lambda value: _index(DEVICES, value)),
        "context_system": _codes(system, lambda value: _index(SYSTEMS, value)),
        "context_country": _codes(country, country_code),
        "context_language": _codes(language, language_code),
        "context_placement": _codes(placement, lambda value: _index(PLACEMENTS, value)),
        "context_referrer": _codes(referrer, lambda value: _index(REFERRERS, value)),
        "context_session_depth": np.clip(np.asarray(session_depth, np.float32), 0, LONGEST_SESSION),
        "context_position": np.broadcast_to(position, len(minutes)),
    }
    return columns_to_array("context", columns)


def _cycle(steps: int) -> Floats:
    """sin and cos of each step of a cycle, as float16 can say them: [steps, 2]."""
    angle = 2 * np.pi * np.arange(steps) / steps
    return np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float16).astype(np.float32)


_CLOCK = _cycle(DAY_MINUTES)
_WEEK = np.concatenate([_cycle(WEEKDAYS), (np.arange(WEEKDAYS) >= 5)[:, None].astype(np.float32)], axis=1)


def _offsets(minutes: Ints, zones: Texts) -> Ints:
    """Minutes each zone is ahead of UTC at its moment; 0 for an unknown one. [n]."""
    result = np.zeros(len(minutes), np.int64)
    names = np.asarray(zones, object)
    for name in {zone for zone in names.tolist() if zone}:
        rows = np.flatnonzero(names == name)
        quarters, place = np.unique(minutes[rows] // QUARTER, return_inverse=True)
        result[rows] = np.array([_offset(name, int(q)) for q in quarters], np.int64)[place]
    return result


@lru_cache(maxsize=65_536)
def _offset(zone: str, quarter: int) -> int:
    known = _zone(zone)
    offset = known.utcoffset(datetime.fromtimestamp(quarter * QUARTER * 60, known)) if known else None
    return round(offset.total_seconds() / 60) if offset is not None else 0


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def _codes(values: Texts, code: Callable[[str | None], float]) -> Floats:
    known = {value: code(value) for value in set(values)}
    return np.array([known[value] for value in values], np.float32)


def _index(vocabulary: tuple[str, ...], value: str | None) -> int:
    return vocabulary.index(value) if value in vocabulary else 0
