"""The columns of every file before it is read, from CSV headers and Parquet footers; files alike are read together."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StringType, StructField, StructType

from training.adapters.canonical import REQUIRED
from training.adapters.files.storage import File, Storage
from training.errors import DataError

LINE = "__line__"  # where Spark puts a CSV line with the wrong number of values
NANOS = re.compile(r"int64 (\S+) \(TIMESTAMP\(NANOS,")  # Spark reads a plain number
NULLS = re.compile(r"int32 (\S+) \(UNKNOWN\)")  # a column without any value, as Arrow writes it; Spark reads numbers
CSV = {
    "header": "true",
    "multiLine": "true",  # a quoted value may hold a line break; the price is one task for each CSV file
    "escape": '"',
    "columnNameOfCorruptRecord": LINE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What files have in common: kind, column names, Parquet's schema; `nanos` are in ns since 1970, `nulls` empty."""

    suffix: str
    columns: tuple[str, ...]
    schema: str = ""
    nanos: frozenset[str] = frozenset()
    nulls: frozenset[str] = frozenset()

    def read(self, spark: SparkSession, files: Sequence[File]) -> DataFrame:
        """The files' rows; a CSV's are text, with `LINE`."""
        paths = [file.spark_path for file in files]
        if self.suffix == "parquet":
            return spark.read.parquet(*paths)
        fields = [StructField(name, StringType()) for name in (*self.columns, LINE)]
        return spark.read.schema(StructType(fields)).options(**CSV).csv(paths)


def shapes(spark: SparkSession, storage: Storage, table: str, files: Sequence[File]) -> dict[Shape, list[File]]:
    """The files by shape. Raises DataError for one that cannot be read or lacks a required column."""
    grouped: dict[Shape, list[File]] = {}
    parquet = [file for file in files if file.path.endswith(".parquet")]
    schemas = storage.schemas(parquet) if parquet else {}
    known: dict[str, Shape] = {}
    for file in files:
        if file.path in schemas:
            text = str(schemas[file.path].toString())
            shape = known.get(text) or known.setdefault(text, _of_footer(text, schemas[file.path]))
        else:
            shape = _of_header(file, storage.head(file))
        _check(spark, table, file, shape)
        grouped.setdefault(shape, []).append(file)
    return grouped


def _of_footer(text: str, schema: Any) -> Shape:
    names = tuple(str(field.getName()) for field in schema.getFields())
    nanos, nulls = (frozenset(pattern.findall(text)) for pattern in (NANOS, NULLS))
    return Shape(suffix="parquet", columns=names, schema=text, nanos=nanos, nulls=nulls)


def _of_header(file: File, head: bytes) -> Shape:
    line = head.split(b"\n", 1)[0].rstrip(b"\r")
    try:
        names = next(csv.reader([line.decode("utf-8-sig")]), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file.path}: cannot be read as CSV: header: {error}") from None
    if not any(names):
        raise DataError(f"{file.path}: cannot be read as CSV: no header in its first line")
    return Shape(suffix="csv", columns=tuple(names))


def _check(spark: SparkSession, table: str, file: File, shape: Shape) -> None:
    lower = [name.lower() for name in shape.columns]
    twice = sorted({name for name in lower if lower.count(name) > 1})
    if twice:
        raise DataError(f"{file.path}: column {', '.join(twice)}: there more than once; rename or drop one")
    missing = [name for name in REQUIRED[table] if name not in shape.columns]
    if missing:
        raise DataError(
            f"{file.path}: column {', '.join(missing)}: missing in all {shape.read(spark, [file]).count()} rows; "
            f"the file has {', '.join(shape.columns)}"
        )
