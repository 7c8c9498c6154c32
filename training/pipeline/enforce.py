"""Schema enforcement: the canonical columns in their types, and a mark on rows with a value of another type."""

from pathlib import Path

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as fn

from training.adapters.canonical import REQUIRED, SCHEMAS
from training.errors import DataError

MALFORMED = "malformed"
_SPARK_TYPES = {
    "string": "string", "double": "double", "float": "float", "int32": "int", "int64": "bigint",
    "bool": "boolean", "timestamp[us, tz=UTC]": "timestamp",
}  # fmt: skip


def enforce(rows: DataFrame, name: str, path: Path) -> DataFrame:
    """Exactly the canonical columns of the table plus `malformed`. Raises DataError for a missing required column."""
    missing = [column for column in REQUIRED[name] if column not in rows.columns]
    if missing:
        raise DataError(f"{path}: column {', '.join(missing)}: missing in all {rows.count()} rows")
    typed = [_typed(rows, f.name, spark_type(f.type)) for f in SCHEMAS[name]]
    lost = [_lost(rows, f.name, spark_type(f.type)) for f in SCHEMAS[name] if f.name in rows.columns]
    malformed = fn.lit(False)
    for column in lost:
        malformed = malformed | column
    return rows.select(*typed, malformed.alias(MALFORMED))


def spark_type(kind: pa.DataType) -> str:
    """Spark's name of an Arrow type of the canonical tables."""
    if pa.types.is_list(kind):
        return f"array<{spark_type(kind.value_type)}>"
    return _SPARK_TYPES[str(kind)]


def _typed(rows: DataFrame, name: str, kind: str) -> Column:
    column = fn.col(name) if name in rows.columns else fn.lit(None)
    return column.try_cast(kind).alias(name)


def _lost(rows: DataFrame, name: str, kind: str) -> Column:
    if rows.schema[name].dataType.simpleString() == kind:
        return fn.lit(False)
    return fn.col(name).isNotNull() & fn.col(name).try_cast(kind).isNull()
