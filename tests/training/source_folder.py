"""A folder of the user's own data, written file by file, and its ingestion."""

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deploy.settings import Settings
from tests.ports import isolated_settings
from training.adapters.canonical import SCHEMAS

EVENTS = "user_id,item_id,event_type,timestamp,price\nu1,i1,view,2026-01-02T10:00:00,\nu1,i1,purchase,2026-01-03,9.5\n"
ITEMS = "item_id,category,created_at,tags,in_stock\ni1,books,1735689600,old|rare,true\n"
USERS = "user_id,age\nu1,31\n"
HEADER = "user_id,item_id,event_type,timestamp\n"

Content = str | bytes | pa.Table


def write(folder: Path, files: dict[str, Content]) -> None:
    """Files by name: text (compressed when the name says so), bytes as they are, tables as Parquet."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            raw = content.encode() if isinstance(content, str) else content
            path.write_bytes(gzip.compress(raw) if isinstance(content, str) and name.endswith(".gz") else raw)


def source(home: Path, files: dict[str, Content]) -> Settings:
    """A source with these files, and items and users unless they are among them."""
    data = home / "data"
    given = {name.split("/")[0].split(".")[0] for name in files}
    defaults = {"items.csv": ITEMS, "users.csv": USERS}
    write(data, {name: text for name, text in defaults.items() if name.split(".")[0] not in given} | files)
    return isolated_settings(home / "home", source="files", data=data)


def day(date: str, users: int = 1) -> str:
    """A CSV of one view for each of so many users at noon."""
    return HEADER + "".join(f"u{n},i1,view,{date}T12:00:00\n" for n in range(users))


def folder_of(settings: Settings) -> Path:
    """The source's folder."""
    assert settings.data_folder is not None
    return settings.data_folder


def rows(settings: Settings, name: str) -> list[dict[str, Any]]:
    """A raw table, in the order of its files; it has the canonical columns."""
    table = pq.read_table(settings.raw / name, partitioning=None)
    assert _kinds(table.schema) == _kinds(SCHEMAS[name])
    return table.to_pylist()


def _kinds(schema: pa.Schema) -> dict[str, str]:
    """Types by column; Spark and Arrow name the element of a list differently, and Spark says that it is not null."""
    return {field.name: str(field.type).replace("element: ", "item: ").replace(" not null", "") for field in schema}
