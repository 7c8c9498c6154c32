"""Raw Parquet, in one folder or in daily partitions → the canonical columns in their types.

Files may disagree: rows with a value that could not be converted lie in files of their own, as text, and a column may
not be there. Files with the canonical types are read as they are, the others are cast.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from training.adapters.canonical import REQUIRED, SCHEMAS
from training.errors import DataError
from training.validation.enforce import MALFORMED, enforce
from training.validation.schemas import struct

CANONICAL = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """Rows in canonical columns; where there are other files, their rows that do not fit apart, with `malformed`."""

    rows: DataFrame
    malformed: DataFrame | None = None


def read_raw(spark: SparkSession, folder: Path, name: str) -> Raw:
    """A raw table. Raises DataError: it is missing, a file cannot be read, a required column is not there."""
    if not folder.exists():
        raise DataError(f"{folder}: missing; run `python -m training ingest` first")
    groups = _by_schema(folder, name)
    canonical = groups.pop(CANONICAL, [])
    reader = spark.read.schema(struct(name)).option("recursiveFileLookup", "true")
    if not groups:
        return Raw(rows=reader.option("pathGlobFilter", "*.parquet").parquet(str(folder)))
    cast = reduce(DataFrame.unionByName, [enforce(spark.read.parquet(*files), name) for files in groups.values()])
    fitting = cast.filter(f"{MALFORMED} is null").drop(MALFORMED)
    rows = reader.parquet(*canonical).unionByName(fitting) if canonical else fitting
    return Raw(rows=rows, malformed=cast.filter(f"{MALFORMED} is not null"))


def _by_schema(folder: Path, name: str) -> dict[str, list[str]]:
    """Files by schema; CANONICAL stands for the canonical types."""
    groups: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("*.parquet")):
        if not path.name.startswith(("_", ".")):
            schema = _schema(path)
            _require(path, schema, name)
            groups[CANONICAL if _is_canonical(schema, name) else str(schema.remove_metadata())].append(str(path))
    return groups


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {' '.join(str(error).split())[:200]}") from None


def _require(path: Path, schema: pa.Schema, name: str) -> None:
    missing = [column for column in REQUIRED[name] if column not in schema.names]
    if missing:
        rows = pq.read_metadata(path).num_rows
        raise DataError(f"{path}: column {', '.join(missing)}: missing in all {rows} rows")


def _is_canonical(schema: pa.Schema, name: str) -> bool:
    return all(_same(schema.field(f.name).type, f.type) for f in SCHEMAS[name] if f.name in schema.names)


def _same(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Equal as Spark reads them; the name of a list's element does not matter."""
    if pa.types.is_list(wanted):
        return pa.types.is_list(found) and _same(found.value_type, wanted.value_type)
    return bool(found == wanted) or (pa.types.is_large_string(found) and pa.types.is_string(wanted))
