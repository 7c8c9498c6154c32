"""The four tables as pandera schemas: names, types, what may be missing, which values are allowed.

Columns and types are those of `training.adapters.canonical`; here is only what must hold of their values. The reader
casts to these types, the rules reject what breaks these checks, and a clean table passes the schema as it stands.
"""

import pandera.pyspark as pandera
import pyarrow as pa
from pyspark.sql import types

from training.adapters.canonical import EVENT_TYPES, REQUIRED, SCHEMAS

IDENTITY: dict[str, tuple[str, ...]] = {
    "users": ("user_id",),
    "items": ("item_id",),
    "events": ("user_id", "item_id", "timestamp"),
    "impressions": ("request_id", "user_id", "item_id", "timestamp"),
}  # never missing; an empty id is a missing one
NOT_NEGATIVE: dict[str, tuple[str, ...]] = {
    "users": ("age",),
    "items": ("price", "rating", "review_count"),
    "events": ("price", "quantity"),
    "impressions": ("position",),
}
VALUES: dict[str, dict[str, tuple[str, ...]]] = {"events": {"event_type": EVENT_TYPES}}

_SPARK_TYPES: dict[pa.DataType, type[types.DataType]] = {
    pa.string(): types.StringType,
    pa.float32(): types.FloatType,
    pa.float64(): types.DoubleType,
    pa.int32(): types.IntegerType,
    pa.int64(): types.LongType,
    pa.bool_(): types.BooleanType,
    pa.timestamp("us", tz="UTC"): types.TimestampType,
}


def spark_type(kind: pa.DataType) -> types.DataType:
    """Spark's type for an Arrow type of the canonical tables."""
    if pa.types.is_list(kind):
        return types.ArrayType(spark_type(kind.value_type))
    return _SPARK_TYPES[kind]()


def _column(name: str, field: pa.Field) -> pandera.Column:
    values = VALUES.get(name, {}).get(field.name)
    identity = field.name in IDENTITY[name]
    checks = [pandera.Check.ge(0)] if field.name in NOT_NEGATIVE[name] else []
    checks += [pandera.Check.isin(values)] if values else []
    checks += [pandera.Check.str_matches(r"\S")] if identity and pa.types.is_string(field.type) else []
    return pandera.Column(
        spark_type(field.type), checks, nullable=not identity and not values, required=field.name in REQUIRED[name]
    )


TABLES: dict[str, pandera.DataFrameSchema] = {
    name: pandera.DataFrameSchema({field.name: _column(name, field) for field in SCHEMAS[name]}, name=name)
    for name in IDENTITY
}  # in the order in which they are checked: events need to know the valid users and items


def struct(name: str) -> types.StructType:
    """The columns of a table as Spark reads them."""
    return types.StructType([types.StructField(field.name, spark_type(field.type)) for field in SCHEMAS[name]])


def numbers(name: str) -> list[str]:
    """The columns of a table that hold one number each."""
    return [f.name for f in SCHEMAS[name] if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)]


def floats(name: str) -> list[str]:
    """The columns of a table that hold floating-point numbers, alone or in lists."""
    return [f.name for f in SCHEMAS[name] if pa.types.is_floating(getattr(f.type, "value_type", f.type))]
