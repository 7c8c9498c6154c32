"""What user and item snapshots share: requested pairs, ages, smoothed rates, codes, and the columns of the output."""

from datetime import datetime
from pathlib import Path

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as fn

from feature_repo.schema import CTR_PRIOR, SCHEMA
from training.adapters.source import Source
from training.pipeline.clock import DAY_SECONDS, available_at, final_day, served_day_at, start_of

TIMESTAMPS = ("event_timestamp", "created_timestamp")


def request(
    used: DataFrame, everyone: DataFrame, key: str, moments: tuple[datetime, ...], as_of: datetime
) -> DataFrame:
    """Distinct (key, day, final): pairs that examples use, everyone at the given moments, and the final snapshot.

    `used` has key and day; `everyone` has key and, optionally, `born`: who did not exist at a moment is left out.
    """
    asked = used.select(key, "day")
    for moment in moments:
        existing = everyone.filter(fn.col("born") <= fn.lit(moment)) if "born" in everyone.columns else everyone
        asked = asked.union(existing.select(key, fn.lit(served_day_at(moment)).alias("day")))
    return asked.distinct().withColumn("final", fn.lit(False)).union(final_request(everyone, key, as_of))


def final_request(everyone: DataFrame, key: str, as_of: datetime) -> DataFrame:
    """(key, day, final) of everyone's final snapshot."""
    return everyone.select(key, fn.lit(final_day(as_of)).alias("day"), fn.lit(True).alias("final"))


def stamped(
    rows: DataFrame,
    key: str,
    as_of: datetime | None,
    features: dict[str, Column],
    sequences: dict[str, Column] | None = None,
) -> DataFrame:
    """The output columns in the schema's order and types. Raises ValueError when features and schema differ."""
    group = SCHEMA.by_name[next(iter(features))].group
    names = [f.name for f in SCHEMA.group(group)]
    if names != list(features):
        differing = sorted(set(names) ^ set(features)) or "in another order"
        raise ValueError(f"{group} features differ from the schema: {differing}")
    served = fn.when(fn.col("final"), fn.lit(as_of)).otherwise(available_at(fn.col("day")))
    rows = rows.withColumn("now", fn.when(fn.col("final"), fn.lit(as_of)).otherwise(start_of(fn.col("day"))))
    columns = [column if SCHEMA.by_name[name].width > 1 else column.cast("float") for name, column in features.items()]
    return rows.select(key, served.alias(TIMESTAMPS[0]), fn.col("now").alias(TIMESTAMPS[1]),
                       *[c.alias(n) for c, n in zip(columns, names, strict=True)],
                       *[c.alias(n) for n, c in (sequences or {}).items()])  # fmt: skip


def write_snapshots(rows: DataFrame, folder: Path) -> None:
    """Write snapshots as Parquet: floats make poor dictionaries, trying costs a third of the time of writing."""
    rows.write.option("parquet.enable.dictionary", "false").option("compression", "zstd").parquet(str(folder))


def click_rate(clicks: Column, shown: Column, source: Source) -> Column:
    """The smoothed CTR; its prior where the source has no impressions, because then there is no such thing."""
    return rate(clicks, shown, CTR_PRIOR) if source.has_impressions else fn.lit(CTR_PRIOR[0])


def age_days(timestamp: str) -> Column:
    """Days from a moment to `now`, at least 0; null where the moment is."""
    elapsed = fn.unix_micros("now") - fn.unix_micros(timestamp)
    return fn.when(fn.col(timestamp).isNotNull(), fn.greatest(elapsed / (DAY_SECONDS * 1_000_000), fn.lit(0.0)))


def recency(timestamp: str, longest: float) -> Column:
    """Days since a moment, at most `longest`; that too where there was none."""
    return fn.least(fn.coalesce(age_days(timestamp), fn.lit(longest)), fn.lit(longest))


def share(part: str, whole: str) -> Column:
    """part / whole; 0 where the whole is 0."""
    return fn.coalesce(fn.try_divide(part, whole), fn.lit(0.0))


def rate(successes: Column, trials: Column, prior: tuple[float, float]) -> Column:
    """A smoothed rate; the prior is (rate, weight)."""
    mean, weight = prior
    return (successes + mean * weight) / (trials + weight)


def code_in(column: str, vocabulary: tuple[str, ...]) -> Column:
    """Index of a value in a schema vocabulary, 0 for anything else."""
    found = fn.array_position(fn.array(*[fn.lit(v) for v in vocabulary]), fn.col(column))
    return fn.greatest(fn.coalesce(found, fn.lit(0)) - 1, fn.lit(0))


def country_code(column: str | Column) -> Column:
    """`feature_repo.schema.country_code` as an expression."""
    letters = fn.col(column) if isinstance(column, str) else column
    upper = fn.upper(letters)
    code = (fn.ascii(fn.substring(upper, 1, 1)) - ord("A")) * 26 + fn.ascii(fn.substring(upper, 2, 1)) - ord("A") + 1
    return fn.when(letters.rlike("^[A-Za-z]{2}$"), code).otherwise(0)


def language_code(column: str) -> Column:
    """`feature_repo.schema.language_code` as an expression."""
    return country_code(fn.split(fn.replace(fn.col(column), fn.lit("_"), fn.lit("-")), "-")[0])
