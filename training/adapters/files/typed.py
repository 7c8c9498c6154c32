"""Columns in their canonical types; a value that does not convert keeps its row apart, as text, so nothing is lost.

Accepted: times as ISO 8601 (no zone means UTC) or unix seconds, numbers and booleans as text, lists as text separated
by `|`, ids as whole numbers. An empty text is null.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as fn
from pyspark.sql.pandas.types import from_arrow_type

from training.adapters.canonical import SCHEMAS
from training.adapters.files.shapes import LINE, Shape
from training.adapters.read import FALSE, LIST_SEPARATOR, TRUE
from training.errors import DataError

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
DATE = r"^\d{4}-\d{2}"
COMPACT = (r"^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})", "$1-$2-$3T$4:$5:$6")
MINUTES = (r"([T ]\d{2}:\d{2})(Z|[+-]\d{2}:?\d{2})$", "$1:00$2")  # Spark wants seconds before a zone
LAST_SECOND = 253_402_300_799  # of the year 9999
LARGEST_WHOLE = 2**53  # of a double
UNREADABLE = "\ufffd"  # what a byte that is not UTF-8 becomes
NANOS, VOID = "nanos", "void"
INTEGERS = ("tinyint", "smallint", "int", "bigint")
FLOATS = ("float", "double")

Conversion = Callable[[Column, str], Column | None]  # (values, Spark's name of their type) → None: no such conversion


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """One canonical column: `value` where it converts; in rows that are `lost`, `told` is what was there instead."""

    name: str
    value: Column
    lost: Column
    told: Column

    @property
    def text(self) -> Column:
        """All of it as text, quoted where it is lost: so it is of no other type, whoever casts it."""
        quoted = fn.concat(fn.lit('"'), self.told, fn.lit('"'))
        return fn.when(self.lost, quoted).otherwise(self.value.cast("string"))

    def carrying(self, told: Column) -> "Converted":
        """The same column, lost as well in rows where there is more to tell."""
        lost, first = told.isNotNull() | self.lost, fn.coalesce(told, self.told)
        return Converted(name=self.name, value=self.value, lost=lost, told=first)


def typed(rows: DataFrame, table: str, shape: Shape, path: str) -> list[Converted]:
    """The canonical columns. Raises DataError for one whose type never converts.

    Lists stay lists, and a CSV line with too many values has no column: the first column that is neither text nor list
    tells of them.
    """
    kinds = dict(rows.dtypes) | dict.fromkeys(shape.nanos, NANOS) | dict.fromkeys(shape.nulls, VOID)
    columns = {field.name: _column(field, kinds.get(field.name, VOID), path) for field in SCHEMAS[table]}
    faults = [fn.col(LINE)] if shape.suffix == "csv" else []
    for field in (field for field in SCHEMAS[table] if pa.types.is_list(field.type)):
        column = columns[field.name]
        faults.append(fn.when(column.lost, fn.concat(fn.lit(f"{field.name}: "), column.told)))
        columns[field.name] = replace(column, lost=fn.lit(False))
    carrier = next(f.name for f in SCHEMAS[table] if not (f.type == pa.string() or pa.types.is_list(f.type)))
    columns[carrier] = columns[carrier].carrying(fn.coalesce(*faults, fn.lit(None)))
    return list(columns.values())


def unreadable(shape: Shape) -> Column:
    """Rows of a CSV with a text that is not UTF-8."""
    texts = [fn.col(f"`{name}`").contains(UNREADABLE) for name in shape.columns if shape.suffix == "csv"]
    return reduce(or_, (fn.coalesce(text, fn.lit(False)) for text in texts), fn.lit(False))


def _column(field: pa.Field, kind: str, path: str) -> Converted:
    """The column of this name in the rows, of this kind; `VOID`: there is none."""
    given = fn.lit(None) if kind == VOID else fn.col(f"`{field.name}`")
    if kind == "string":
        given = fn.nullif(given, fn.lit(""))
        if pa.types.is_list(field.type):
            given, kind = fn.split(given, f"\\{LIST_SEPARATOR}"), "array<string>"
    wanted = from_arrow_type(field.type)
    if kind in (VOID, wanted.simpleString()):
        return Converted(name=field.name, value=given.cast(wanted), lost=fn.lit(False), told=given.cast("string"))
    value = _conversion(field.type)(given, kind)
    if value is None:
        raise DataError(f"{path}: column {field.name}: all rows are of type {kind}, expected {field.type}")
    lost = given.isNotNull() & value.isNull()
    if pa.types.is_list(field.type):
        lost = lost | fn.coalesce(_nulls(value) > _nulls(given), fn.lit(False))
    return Converted(name=field.name, value=value.cast(wanted), lost=lost, told=given.cast("string"))


def _nulls(values: Column) -> Column:
    return fn.size(fn.filter(values, lambda value: value.isNull()))


def _conversion(kind: pa.DataType) -> Conversion:
    if pa.types.is_list(kind):
        return _list(_conversion(kind.value_type))
    if pa.types.is_integer(kind):
        return _whole(from_arrow_type(kind).simpleString())
    if pa.types.is_floating(kind):
        return _number
    return {"string": _text, "bool": _flag}.get(str(kind), _moment)


def _text(column: Column, kind: str) -> Column | None:
    if kind in FLOATS:  # ids that once met a null in pandas
        whole = (column == fn.floor(column)) & (fn.abs(column) < LARGEST_WHOLE)
        return fn.when(whole, column.cast("bigint").cast("string")).otherwise(column.cast("string"))
    return None if kind.startswith(("array", "struct", "map")) else column.cast("string")


def _moment(column: Column, kind: str) -> Column | None:
    if kind == "string":
        iso = fn.regexp_replace(fn.regexp_replace(fn.trim(column), *COMPACT), *MINUTES)
        moment = fn.when(iso.rlike(DATE), iso).try_cast("timestamp")  # without a date it would be today's
        return fn.coalesce(_of_seconds(_number(column, kind)), moment)
    if kind == NANOS:
        return fn.timestamp_micros(fn.call_function("div", column, fn.lit(1000)))
    if kind in (*INTEGERS, *FLOATS) or kind.startswith("decimal"):
        return _of_seconds(column.cast("double"))
    return column.cast("timestamp") if kind in ("timestamp", "timestamp_ntz", "date") else None


def _of_seconds(seconds: Column) -> Column:
    micros = fn.round(seconds * 1_000_000).cast("bigint")
    return fn.when(fn.abs(seconds) <= LAST_SECOND, fn.timestamp_micros(micros))


def _flag(column: Column, kind: str) -> Column | None:
    if kind == "boolean":
        return column
    if kind not in ("string", *INTEGERS):
        return None
    text = fn.lower(fn.trim(column.cast("string")))
    return fn.when(text.isin(*TRUE), True).when(text.isin(*FALSE), False)


def _whole(target: str) -> Conversion:
    def convert(column: Column, kind: str) -> Column | None:
        if kind in INTEGERS:
            return column.try_cast(target)
        if not _numeric(kind):
            return None
        exact = column if kind in FLOATS else _plain(column, kind).try_cast("decimal(38,6)")
        return fn.when(exact == fn.floor(exact), exact).try_cast(target)

    return convert


def _number(column: Column, kind: str) -> Column | None:
    return _plain(column, kind).try_cast("double") if _numeric(kind) else None


def _numeric(kind: str) -> bool:
    return kind in ("string", *INTEGERS, *FLOATS) or kind.startswith("decimal")


def _plain(column: Column, kind: str) -> Column:
    """Only text that is a number: a cast alone would also take `1d`, `nan` and `infinity`."""
    return fn.when(column.rlike(NUMBER), column) if kind == "string" else column


def _list(element: Conversion) -> Conversion:
    def convert(column: Column, kind: str) -> Column | None:
        inner = kind.removeprefix("array<").removesuffix(">")
        if not kind.startswith("array<") or element(fn.lit(None), inner) is None:
            return None
        return fn.transform(column, lambda value: element(value, inner))

    return convert
