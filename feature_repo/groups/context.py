"""Features of the request itself. Times are UTC unless they say local; local is by the request's time zone."""

from functools import partial

from feature_repo.feature import COUNTRIES, DAYPARTS, DEVICES, LANGUAGES, PLACEMENTS, REFERRERS, SYSTEMS, Feature

_clock = partial(Feature, group="context", source="request", owner="request", dtype="float16")
_said = partial(Feature, group="context", source="request", owner="request")
_code = partial(_said, kind="code", dtype="uint8")
_letters = partial(_said, kind="code", dtype="uint16")

CONTEXT = (
    _clock(name="context_hour_sin", description="sin of the hour of day"),
    _clock(name="context_hour_cos", description="cos of the hour of day"),
    _clock(name="context_weekday_sin", description="sin of the day of week, Monday 0"),
    _clock(name="context_weekday_cos", description="cos of the day of week, Monday 0"),
    _clock(name="context_weekend", description="1 on Saturday and Sunday"),
    _clock(name="context_local_hour_sin", description="sin of the local hour of day"),
    _clock(name="context_local_hour_cos", description="cos of the local hour of day"),
    _clock(name="context_utc_offset", description="hours local time is ahead of UTC, 0 unknown"),
    _code(name="context_daypart", description="index in DAYPARTS", cardinality=len(DAYPARTS)),
    _code(name="context_device", description="index in DEVICES", cardinality=len(DEVICES)),
    _code(name="context_system", description="index in SYSTEMS", cardinality=len(SYSTEMS)),
    _letters(name="context_country", description="code of the request's country", cardinality=COUNTRIES),
    _letters(name="context_language", description="code of the request's language", cardinality=LANGUAGES),
    _code(name="context_placement", description="index in PLACEMENTS", cardinality=len(PLACEMENTS)),
    _code(name="context_referrer", description="index in REFERRERS", cardinality=len(REFERRERS)),
    _said(name="context_session_depth", description="events in the session before the request, ≤ 255", dtype="uint8"),
    _said(name="context_position", description="position shown at, in training; 0 at serving", dtype="uint8"),
)
