"""Reading a source's files. Every failure is one `DataError` that names the file, the column and the rows."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from training.errors import DataError

TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no")
LIST_SEPARATOR = "|"


def require(folder: Path | None, name: str) -> Path:
    """The path of a source's file. Raises DataError when the folder or the file is missing."""
    if folder is None:
        raise DataError("setting data: not given; set TRIDENT_DATA to the folder with the source's files")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; set TRIDENT_DATA to the folder with the source's files")
    path = folder / name
    if not path.exists():
        raise DataError(f"{path}: missing; the folder holds {_listing(folder)}")
    return path


def read_csv(
    path: Path, columns: Sequence[str] | None, delimiter: str = ",", names: Sequence[str] | None = None
) -> pa.Table:
    """The named columns (None: all) as text, empty = null. gzip by suffix; `names` for a file without header."""
    broken: list[str] = []

    def remember(row: pa.csv.InvalidRow) -> str:
        broken.append(f"first: {row.actual_columns} instead of {row.expected_columns} columns")
        return "skip"

    try:
        header = names or _header(path, delimiter)
        content = pa.csv.read_csv(
            path,
            read_options=pa.csv.ReadOptions(column_names=names),
            parse_options=_parsing(delimiter, remember),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        )
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as CSV: {_one_line(error)}") from None
    if broken:
        raise DataError(f"{path}: {len(broken)} of {content.num_rows + len(broken)} rows are malformed; {broken[0]}")
    return content if columns is None else select(path, content, columns)


def read_parquet(path: Path) -> pa.Table:
    """A Parquet file or folder."""
    try:
        return pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {_one_line(error)}") from None


def select(path: Path, content: pa.Table, columns: Sequence[str]) -> pa.Table:
    """These columns of the table. Raises DataError naming the first that is missing."""
    missing = [name for name in columns if name not in content.column_names]
    if missing:
        raise DataError(
            f"{path}: column {', '.join(missing)}: missing in all {content.num_rows} rows; "
            f"the file has {', '.join(content.column_names)}"
        )
    return content.select(list(columns))


def convert(path: Path, name: str, column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    """The column in the canonical type; text is parsed, null stays null.

    Raises DataError naming file, column and the number of rows that hold something else.
    """
    if column.type == kind or pa.types.is_null(column.type):
        return column.cast(kind)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return _parse(path, name, column.cast(pa.string()), kind)
    return _cast(path, name, column, kind)


def _cast(path: Path, name: str, column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_timestamp(kind) and pa.types.is_integer(column.type):
        column = column.cast(pa.timestamp("s"))
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(f"{path}: column {name}: {len(column)} rows of type {column.type}, expected {kind}") from None


def _parse(path: Path, name: str, column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    if pa.types.is_string(kind):
        return column
    if pa.types.is_list(kind):
        return pc.split_pattern(column, LIST_SEPARATOR).cast(kind)
    values = _values(column, kind)
    wrong = np.asarray(pd.isna(values)) & ~np.asarray(column.is_null())
    if wrong.any():
        example = column[int(np.flatnonzero(wrong)[0])].as_py()
        raise DataError(
            f"{path}: column {name}: {int(wrong.sum())} of {len(column)} rows are not {kind}, first {example[:40]!r}"
        )
    return pa.Array.from_pandas(values).cast(kind)


def _values(column: pa.ChunkedArray, kind: pa.DataType) -> Any:
    text = column.to_pandas()
    if pa.types.is_timestamp(kind):
        return _moments(text)
    if pa.types.is_boolean(kind):
        known = {**dict.fromkeys(TRUE, True), **dict.fromkeys(FALSE, False)}
        return text.str.lower().map(known)
    numbers = pd.to_numeric(text, errors="coerce")
    if pa.types.is_integer(kind):
        return numbers.where(numbers % 1 == 0).astype("Int64")
    return numbers


def _moments(text: Any) -> Any:
    """ISO 8601 or unix seconds; without a time zone means UTC."""
    seconds = pd.to_numeric(text, errors="coerce")
    if seconds.notna().sum() == text.notna().sum():
        return pd.to_datetime(seconds, unit="s", utc=True)
    return pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)


def seconds(path: Path, name: str, column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """A text column of unix seconds without nulls: [rows]."""
    parsed = convert(path, name, column, pa.int64())
    if parsed.null_count:
        raise DataError(f"{path}: column {name}: {parsed.null_count} of {len(parsed)} rows are empty")
    return np.asarray(parsed, np.int64)


def _header(path: Path, delimiter: str) -> Sequence[str]:
    with pa.csv.open_csv(path, parse_options=_parsing(delimiter, lambda _: "skip")) as reader:
        return [str(name) for name in reader.schema.names]


def _parsing(delimiter: str, broken: Callable[[pa.csv.InvalidRow], str]) -> pa.csv.ParseOptions:
    return pa.csv.ParseOptions(delimiter=delimiter, invalid_row_handler=broken, newlines_in_values=True)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _listing(folder: Path) -> str:
    names = sorted(p.name for p in folder.iterdir())[:8]
    return ", ".join(names) or "nothing"
