"""Source → canonical raw tables, for the sample and for every adapter alike."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa

from deploy.settings import Settings
from training.adapters import deskdrop, files, movielens
from training.adapters.canonical import write_raw
from training.adapters.source import Source
from training.errors import DataError
from training.sample import SOURCE as SAMPLE
from training.sample import generate
from training.sample.truth import FILE as TRUTH_FILE

Adapter = Callable[[Path | None], tuple[Source, Mapping[str, pa.Table]]]

ADAPTERS: dict[str, Adapter] = {"movielens": movielens.read, "deskdrop": deskdrop.read, "files": files.read}


def ingest(settings: Settings) -> dict[str, int]:
    """Write settings.raw from the configured source; returns rows by table. Raises DataError, then nothing changed."""
    if settings.source == SAMPLE.name:
        return sample(settings)
    if settings.source not in ADAPTERS:
        known = ", ".join((SAMPLE.name, *ADAPTERS))
        raise DataError(f"source {settings.source}: unknown; set TRIDENT_SOURCE to one of {known}")
    source, tables = ADAPTERS[settings.source](settings.data)
    return write_raw(settings.raw, source, tables)


def sample(settings: Settings) -> dict[str, int]:
    """Write settings.raw with a generated sample and the truth behind it."""
    tables, truth = generate(settings.size, settings.seed)
    return write_raw(settings.raw, SAMPLE, tables, extra=lambda folder: truth.save(folder / TRUTH_FILE))
