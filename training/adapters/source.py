"""What a source of data declares about itself; stored as raw/source.json and read by every later stage."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import orjson

from training.errors import DataError

FILE = "source.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Days of the time split, counted back from as_of T: train T−train…T−(validation+test), then the two windows."""

    train: int = 90
    validation: int = 7
    test: int = 7

    def __post_init__(self) -> None:
        if self.validation < 1 or self.test < 1 or self.train <= self.validation + self.test:
            raise ValueError(f"windows {self.train}/{self.validation}/{self.test}: train must exceed the other two")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source by declaration. `as_of` None means: the largest timestamp of its events and impressions."""

    name: str
    has_impressions: bool
    windows: Windows = field(default_factory=Windows)
    as_of: datetime | None = None
    minimum_positives: int = 50
    absent: tuple[str, ...] = ()
    notes: str = ""

    def at(self, as_of: datetime) -> "Source":
        """The same source with its moment "now" fixed."""
        return Source(**{**{n: getattr(self, n) for n in self.__slots__}, "as_of": as_of})


def now_of(latest: datetime) -> datetime:
    """The moment "now" of a source by its largest timestamp: that moment, or the end of the day where it is a date."""
    return latest + timedelta(days=1) if latest.time() == time() else latest


def write_source(folder: Path, source: Source, rows: dict[str, int]) -> None:
    """Store the declaration and the row counts."""
    document = {**asdict(source), "rows": rows}
    (folder / FILE).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def read_source(folder: Path) -> Source:
    """The declaration of an ingested source, as_of fixed. Raises DataError when nothing was ingested."""
    path = folder / FILE
    if not path.exists():
        raise DataError(f"{path}: missing; run `python -m training ingest` first")
    stored: dict[str, Any] = orjson.loads(path.read_bytes())
    stored.pop("rows")
    moment = datetime.fromisoformat(stored.pop("as_of")).astimezone(UTC)
    return Source(**{**stored, "absent": tuple(stored["absent"])} | {
        "windows": Windows(**stored["windows"]), "as_of": moment,
    })  # fmt: skip
