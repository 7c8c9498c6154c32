"""Schema enforcement of files that do not have the canonical types: what casts, and what in a row does not.

pandera says which columns differ; a value is lost when the cast leaves nothing of it, or less than it was (1.5 → 1).
"""

from pandera.config import ValidationDepth, config_context
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as fn
from pyspark.sql.types import ArrayType, DataType, FractionalType, IntegralType, NumericType, TimestampType

from training.validation.schemas import TABLES, struct

MALFORMED = "malformed"
DATE = r"^\s*\d{4}-\d{2}"  # a time without a date would be today's


def enforce(rows: DataFrame, name: str) -> DataFrame:
    """The canonical columns and `malformed`: what the row held instead, `column: text`, or null where all fits."""
    wanted = {f.name: f.dataType for f in struct(name)}
    found = {f.name: f.dataType for f in rows.schema if f.name in wanted}
    typed = {c: _typed(c, found[c], kind) if c in found else fn.lit(None).cast(kind) for c, kind in wanted.items()}
    faults = [_fault(c, found[c], wanted[c], typed[c]) for c in _differing(rows, name)]
    told = fn.nullif(fn.concat_ws("; ", *faults), fn.lit(""))
    return rows.select(*(column.alias(c) for c, column in typed.items()), told.alias(MALFORMED))


def _differing(rows: DataFrame, name: str) -> list[str]:
    lists = {f.name: f.dataType for f in struct(name) if isinstance(f.dataType, ArrayType)}
    with config_context(validation_depth=ValidationDepth.SCHEMA_ONLY):  # pandera cannot compare a list with text
        problems = TABLES[name].validate(rows.drop(*lists).limit(0)).pandera.errors.get("SCHEMA", {})
    scalars = [problem["column"] for problem in problems.get("WRONG_DATATYPE", [])]
    return scalars + [c for c, kind in lists.items() if c in rows.columns and rows.schema[c].dataType != kind]


def _typed(column: str, found: DataType, kind: DataType) -> Column:
    """The cast column; null where there is no such cast."""
    value = fn.col(column)
    if isinstance(kind, ArrayType):
        return value.try_cast(kind) if isinstance(found, ArrayType) else fn.lit(None).cast(kind)
    if found == kind or (isinstance(found, NumericType) and isinstance(kind, NumericType)):
        return value.try_cast(kind)
    text = value.cast("string")
    return (fn.when(text.rlike(DATE), text) if isinstance(kind, TimestampType) else text).try_cast(kind)


def _fault(column: str, found: DataType, kind: DataType, typed: Column) -> Column:
    lost = fn.col(column).isNotNull() & typed.isNull()
    if isinstance(found, FractionalType) and isinstance(kind, IntegralType):
        lost = lost | (fn.col(column) != typed)
    return fn.when(lost, fn.concat(fn.lit(f"{column}: "), fn.col(column).cast("string")))
