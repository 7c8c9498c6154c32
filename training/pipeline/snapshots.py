"""What user and item snapshots share: requested pairs, ages, smoothed rates, codes, and the columns of the output."""

from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from feature_repo.schema import CTR_PRIOR, SCHEMA
from training.adapters.source import Source
from training.pipeline.clock import DAY_SECONDS, available_at, final_day, served_day_at, start_of

TIMESTAMPS = ("event_timestamp", "created_timestamp")


def request(used: DataFrame, everyone: DataFrame, key: str, moments: tuple[datetime, ...], as_of: datetime) -> DataFrame:
    """Distinct (key, day, final): pairs that examples use, everyone at the given moments, and the final snapshot.

    `used` has key and day; `everyone` has key and, optionally, `born`: who did not exist at a moment is left out.
    """
    asked = used.select(key, "day")
    for moment in moments:
        existing = everyone.filter(F.col("born") <= F.lit(moment)) if "born" in everyone.columns else everyone
        asked = asked.union(existing.select(key, F.lit(served_day_at(moment)).alias("day")))
    final = everyone.select(key, F.lit(final_day(as_of)).alias("day"), F.lit(True).alias("final"))
    return asked.distinct().withColumn("final", F.lit(False)).union(final)


def stamped(rows: DataFrame, key: str, as_of: datetime | None, features: dict[str, Column]) -> DataFrame:
    """The output columns in the schema's order and types. Raises ValueError when features and schema differ."""
    group = SCHEMA.by_name[next(iter(features))].group
    names = [f.name for f in SCHEMA.group(group)]
    if names != list(features):
        raise ValueError(f"{group} features {sorted(set(names) ^ set(features)) or 'in another order'} differ from the schema")
    served = F.when(F.col("final"), F.lit(as_of)).otherwise(available_at(F.col("day")))
    rows = rows.withColumn("now", F.when(F.col("final"), F.lit(as_of)).otherwise(start_of(F.col("day"))))
    columns = [
        column if SCHEMA.by_name[name].kind == "vector" else column.cast("float") for name, column in features.items()
    ]
    return rows.select(key, served.alias(TIMESTAMPS[0]), F.col("now").alias(TIMESTAMPS[1]),
                       *[c.alias(n) for c, n in zip(columns, names, strict=True)])  # fmt: skip


def click_rate(clicks: Column, shown: Column, source: Source) -> Column:
    """The smoothed CTR; its prior where the source has no impressions, because then there is no such thing."""
    return rate(clicks, shown, CTR_PRIOR) if source.has_impressions else F.lit(CTR_PRIOR[0])


def age_days(timestamp: str) -> Column:
    """Days from a moment to `now`, at least 0; null where the moment is."""
    elapsed = F.unix_micros("now") - F.unix_micros(timestamp)
    return F.when(F.col(timestamp).isNotNull(), F.greatest(elapsed / (DAY_SECONDS * 1_000_000), F.lit(0.0)))


def rate(successes: Column, trials: Column, prior: tuple[float, float]) -> Column:
    """A smoothed rate; the prior is (rate, weight)."""
    mean, weight = prior
    return (successes + mean * weight) / (trials + weight)


def code_in(column: str, vocabulary: tuple[str, ...]) -> Column:
    """Index of a value in a schema vocabulary, 0 for anything else."""
    found = F.array_position(F.array(*[F.lit(v) for v in vocabulary]), F.col(column))
    return F.greatest(F.coalesce(found, F.lit(0)) - 1, F.lit(0))


def country_code(column: str) -> Column:
    """`feature_repo.schema.country_code` as an expression."""
    upper = F.upper(F.col(column))
    code = (F.ascii(F.substring(upper, 1, 1)) - ord("A")) * 26 + F.ascii(F.substring(upper, 2, 1)) - ord("A") + 1
    return F.when(F.col(column).rlike("^[A-Za-z]{2}$"), code).otherwise(0)
