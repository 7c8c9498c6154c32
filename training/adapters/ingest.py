"""Source → canonical raw tables, for the sample and for every adapter alike."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from deploy.settings import Settings
from training.adapters import beauty, deskdrop, files, lastfm, movielens, tafeng
from training.adapters.canonical import write_raw
from training.adapters.source import Source
from training.errors import DataError
from training.pipeline.turn import writing
from training.sample import SOURCE as SAMPLE
from training.sample import generate
from training.sample.truth import FILE as TRUTH_FILE

if TYPE_CHECKING:
    from training.served.merge import Merge

Adapter = Callable[[Path | None], tuple[Source, Mapping[str, pa.Table]]]

ADAPTERS: dict[str, Adapter] = {
    adapter.SOURCE.name: adapter.read for adapter in (movielens, deskdrop, tafeng, beauty, lastfm)
}


def ingest(
    settings: Settings, full: bool = False, overlap: int = files.OVERLAP, served: bool | None = None
) -> dict[str, Any]:
    """Write settings.raw from the configured source; returns rows by table. Raises DataError or BusyError, then
    nothing changed.

    Only source `files` is incremental and looks at `full` and `overlap`; the others are read whole. What serving logged
    comes with it where it is `served`: by default with `files`, which is alive. The others stand still at a moment
    long ago, and the log of today would lie beyond their windows.
    """
    merge = _log(settings, settings.source == files.NAME if served is None else served)
    with writing(settings):
        rows = _read(settings, full, overlap, merge)
    return rows | ({} if merge is None else merge.told())


def _log(settings: Settings, served: bool) -> "Merge | None":
    if not served or not settings.served.is_dir():
        return None
    from training.served.merge import Merge

    return Merge(folder=settings.served)


def _read(settings: Settings, full: bool, overlap: int, merge: "Merge | None") -> dict[str, Any]:
    if settings.source == files.NAME:
        return _files(settings, full, overlap, merge)
    if settings.source == SAMPLE.name:
        return sample(settings, merge)
    if settings.source not in ADAPTERS:
        known = ", ".join((SAMPLE.name, *ADAPTERS, files.NAME))
        raise DataError(f"source {settings.source}: unknown; set TRIDENT_SOURCE to one of {known}")
    if settings.data is not None and settings.data_folder is None:
        raise DataError(f"{settings.data}: source {settings.source} reads a folder of this machine, not a URL")
    source, tables = ADAPTERS[settings.source](settings.data_folder)
    return write_raw(settings.raw, source, tables, merge=merge)


def _files(settings: Settings, full: bool, overlap: int, merge: "Merge | None") -> dict[str, Any]:
    from training.adapters.files.ingest import ingest as read
    from training.pipeline.session import open_session

    with open_session(settings) as spark:
        return read(spark, settings, full, overlap, merge)


def sample(settings: Settings, merge: "Merge | None" = None) -> dict[str, Any]:
    """Write settings.raw with a generated sample and the truth behind it."""
    tables, truth = generate(settings.size, settings.seed)
    return write_raw(settings.raw, SAMPLE, tables, lambda folder: truth.save(folder / TRUTH_FILE), merge)
