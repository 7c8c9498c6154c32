"""A shop small enough to check by hand: raw tables built row by row, and the pipeline run over them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from deploy.settings import Settings
from tests.ports import isolated_settings
from training.adapters.canonical import SCHEMAS, write_raw
from training.adapters.source import Source

Row = dict[str, Any]


def rows(name: str, content: Sequence[Row]) -> pa.Table:
    """A canonical table from dictionaries; what a row leaves out is null."""
    return pa.Table.from_pylist(list(content), schema=SCHEMAS[name])


def write_shop(home: Path, source: Source, **tables: Sequence[Row]) -> Settings:
    """Raw tables of a source in a workspace of its own."""
    settings = isolated_settings(home, source=source.name)
    write_raw(settings.raw, source, {name: rows(name, content) for name, content in tables.items()})
    return settings
