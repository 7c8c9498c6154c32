"""The Spark stages as the command line calls them: each waits for its turn, opens a session and closes it.

Each raises BusyError when another one writes for too long.
"""

from typing import Any

from deploy.settings import Settings
from training.adapters.source import read_source
from training.pipeline.features import features as compute
from training.pipeline.features import require_tables
from training.pipeline.hourly import hourly as refresh
from training.pipeline.session import open_session
from training.pipeline.turn import writing
from training.validation.validate import validate as check


def validate(settings: Settings, allow_low_quality: bool = False) -> dict[str, Any]:
    """settings.raw → settings.tables; returns the report."""
    read_source(settings.raw)
    with writing(settings), open_session(settings) as spark:
        return check(spark, settings, allow_low_quality)


def features(settings: Settings, new_codes: bool = False) -> dict[str, Any]:
    """settings.tables → settings.features; returns what splits.json says."""
    require_tables(settings)
    with writing(settings), open_session(settings) as spark:
        return compute(spark, settings, new_codes)


def hourly(settings: Settings) -> dict[str, Any]:
    """The catalogue as of now; returns what hourly.json says."""
    require_tables(settings)
    with writing(settings), open_session(settings) as spark:
        return refresh(spark, settings)


def pipeline(settings: Settings, allow_low_quality: bool = False) -> dict[str, Any]:
    """Both stages in one session; returns the quality and what splits.json says."""
    read_source(settings.raw)
    with writing(settings), open_session(settings) as spark:
        quality = check(spark, settings, allow_low_quality)["quality"]
        return {"quality": quality, **compute(spark, settings)}
