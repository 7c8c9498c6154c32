"""The user's own data, already in the canonical columns: folders (or files) events, items, users and, where there
are any, impressions, as Parquet or CSV. A list in CSV is separated by `|`; times are ISO 8601 or unix seconds.

An optional `source.json` declares what the defaults do not fit: windows, as_of, minimum_positives, notes.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from training.adapters.canonical import REQUIRED, SCHEMAS, table
from training.adapters.read import convert, read_csv, read_parquet, require, select
from training.adapters.source import FILE, Source, Windows
from training.errors import DataError

SUFFIXES = (".parquet", ".csv", ".csv.gz")
DECLARABLE = ("windows", "as_of", "minimum_positives", "notes")


def read(folder: Path | None) -> tuple[Source, Mapping[str, pa.Table]]:
    """The tables of the folder and what it declares. Raises DataError."""
    tables = {name: _table(name, _find(folder, name)) for name in ("events", "items", "users")}
    assert folder is not None
    has_impressions = any((folder / f"impressions{suffix}").exists() for suffix in ("", *SUFFIXES))
    if has_impressions:
        tables["impressions"] = _table("impressions", _find(folder, "impressions"))
    return _declaration(folder, has_impressions), tables


def _find(folder: Path | None, name: str) -> Path:
    for suffix in SUFFIXES:
        if folder is not None and (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    return require(folder, name)


def _table(name: str, path: Path) -> pa.Table:
    parts = [_part(name, part) for part in _parts(path)]
    return pa.concat_tables(parts)


def _parts(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    parts = sorted(p for p in path.iterdir() if p.name.endswith(SUFFIXES) and not p.name.startswith(("_", ".")))
    if not parts:
        raise DataError(f"{path}: holds 0 files named *{', *'.join(SUFFIXES)}")
    return parts


def _part(name: str, path: Path) -> pa.Table:
    schema = SCHEMAS[name]
    content = read_parquet(path) if path.suffix == ".parquet" else read_csv(path, None)
    select(path, content, REQUIRED[name])
    columns = {
        field.name: convert(path, field.name, content[field.name], field.type)
        for field in schema
        if field.name in content.column_names
    }
    return table(schema, columns, content.num_rows)


def _declaration(folder: Path, has_impressions: bool) -> Source:
    path = folder / FILE
    stored: dict[str, Any] = {}
    try:
        if path.exists():
            stored = orjson.loads(path.read_bytes())
        unknown = sorted(set(stored) - set(DECLARABLE))
        if unknown:
            raise ValueError(f"unknown key {', '.join(unknown)}; known: {', '.join(DECLARABLE)}")
        if "windows" in stored:
            stored["windows"] = Windows(**stored["windows"])
        if "as_of" in stored:
            moment = datetime.fromisoformat(stored["as_of"])
            stored["as_of"] = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        return Source(name="files", has_impressions=has_impressions, **stored)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: {error}") from None
