"""The rules a row must keep. The first one it breaks is its reason; what is not here is allowed."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as fn
from pyspark.sql.types import ArrayType

from training.adapters.canonical import SCHEMAS
from training.adapters.source import Source
from training.validation.schemas import IDENTITY, NOT_NEGATIVE, VALUES, floats, struct

OLDEST = timedelta(days=730)
SCHEMA, DUPLICATE, CLEAN = "schema", "duplicate", "clean"
NOT_FINITE = (float("nan"), float("inf"), float("-inf"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What the rules look at in one table besides its schema."""

    duplicate: tuple[str, ...]  # rows equal in these are one
    moment: str  # rejected when later than as_of
    ages: bool = False  # rejected when older than two years
    references: tuple[tuple[str, str], ...] = ()  # (table, key): rejected when the table has no such row


REFERENCES = (("items", "item_id"), ("users", "user_id"))
CHECKS = {
    "users": Checks(duplicate=("user_id",), moment="signup_at"),
    "items": Checks(duplicate=("item_id",), moment="created_at"),
    "events": Checks(
        duplicate=("user_id", "item_id", "event_type", "timestamp"), moment="timestamp", ages=True,
        references=REFERENCES,
    ),
    "impressions": Checks(
        duplicate=("request_id", "item_id"), moment="timestamp", ages=True, references=REFERENCES
    ),
}  # fmt: skip


def reasons(name: str) -> tuple[str, ...]:
    """Every reason a row of the table can be rejected for, in the order in which they are tried."""
    return (SCHEMA, *_rules(name, None), DUPLICATE)


def judge(rows: DataFrame, name: str, source: Source, known: dict[str, DataFrame]) -> DataFrame:
    """The rows of a table with a column `reason`, CLEAN for clean ones. `known` holds the valid ids by key column."""
    for key, ids in known.items():
        rows = rows.join(ids.withColumn(f"known_{key}", fn.lit(True)), key, "left")
    broken = [fn.when(wrong, rule) for rule, wrong in _rules(name, source.as_of).items()]
    rows = rows.select(*SCHEMAS[name].names, fn.coalesce(*broken).alias("reason"))
    return rows.withColumn("reason", fn.coalesce("reason", _repeated(name), fn.lit(CLEAN)))


def _rules(name: str, as_of: datetime | None) -> dict[str, Column]:
    """Which rows break each rule, by the rule's name."""
    checks = CHECKS[name]
    rules = {f"null_{key}": _missing(name, key) for key in IDENTITY[name]}
    for column, values in VALUES.get(name, {}).items():
        rules[column] = fn.col(column).isNull() | ~fn.col(column).isin(*values)
    rules["not_finite"] = reduce(Column.__or__, [_not_finite(name, column) for column in floats(name)], fn.lit(False))
    rules |= {f"negative_{column}": fn.col(column) < 0 for column in NOT_NEGATIVE[name]}
    rules["future"] = fn.col(checks.moment) > fn.lit(as_of)
    if checks.ages:
        rules["too_old"] = fn.col(checks.moment) < fn.lit(as_of and as_of - OLDEST)
    return rules | {f"unknown_{key}": fn.col(f"known_{key}").isNull() for _, key in checks.references}


def _missing(name: str, column: str) -> Column:
    missing = fn.col(column).isNull()
    return missing | (fn.trim(column) == "") if struct(name)[column].dataType.typeName() == "string" else missing


def _not_finite(name: str, column: str) -> Column:
    if isinstance(struct(name)[column].dataType, ArrayType):
        return fn.exists(column, lambda value: value.isin(*NOT_FINITE))
    return fn.col(column).isin(*NOT_FINITE)


def _repeated(name: str) -> Column:
    """DUPLICATE for every clean row but one of those equal in the key; which one stays does not depend on order.

    Rejected rows stand apart, each in a window of its own, so that no missing key gathers them on one machine.
    """
    row = fn.xxhash64(*SCHEMAS[name].names)
    same = Window.partitionBy(*CHECKS[name].duplicate, fn.when(fn.col("reason").isNotNull(), row)).orderBy(row)
    return fn.when(fn.col("reason").isNull() & (fn.row_number().over(same) > 1), DUPLICATE)
