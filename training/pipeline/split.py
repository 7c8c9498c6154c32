"""The time split: train T−90…T−14, validation T−14…T−7, test T−7…T by default. A random split is not offered."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pyspark.sql import Column
from pyspark.sql import functions as fn

from training.adapters.source import Source

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundaries:
    """Moments that separate the windows; each window includes its start, the last one includes as_of."""

    train_start: datetime
    validation_start: datetime
    test_start: datetime
    as_of: datetime


def boundaries(source: Source) -> Boundaries:
    """The windows of an ingested source."""
    if source.as_of is None:
        raise ValueError(f"source {source.name}: as_of is not fixed; read it with read_source")
    test_start = source.as_of - timedelta(days=source.windows.test)
    return Boundaries(
        train_start=source.as_of - timedelta(days=source.windows.train),
        validation_start=test_start - timedelta(days=source.windows.validation),
        test_start=test_start,
        as_of=source.as_of,
    )


def split_of(timestamp: str, at: Boundaries) -> Column:
    """Name of the window a moment falls in; null before the train window."""
    moment = fn.col(timestamp)
    return (
        fn.when(moment >= fn.lit(at.test_start), TEST)
        .when(moment >= fn.lit(at.validation_start), VALIDATION)
        .when(moment >= fn.lit(at.train_start), TRAIN)
    )
