"""What has been collected for good: `served/progress.json`, replaced as a whole after each batch.

The numbers of an instance (one orchestrator process) run from 1 without gaps, for each stream. A number that is passed
over is missing until it arrives after all; one that was seen already came twice, because a write whose answer was lost
is written again.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from training.errors import DataError
from training.served.parts import NUMBERED, write_durably

FILE = "progress.json"
MOST_MISSING, MOST_INSTANCES = 256, 1_000  # remembered; beyond that a number that arrives late counts as a repeat


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Instance(_Part):
    """One process: the largest number seen, and the numbers below it that are missing."""

    last: int = 0
    missing: list[int] = []


class Stream(_Part):
    """One stream: ids of the last committed batch's first and last entry, and what was counted since ever."""

    first: str = ""
    last: str = ""
    entries: int = 0
    lost: int = 0
    repeated: int = 0
    refused: dict[str, int] = {}
    instances: dict[str, Instance] = {}

    def fresh(self, instance: str, seq: int) -> bool:
        """Note an instance's number; False when it was there before."""
        known = self.instances.pop(instance, None) or Instance()
        self.instances[instance] = known  # the latest heard of is the last one
        if seq <= known.last:
            if seq not in known.missing:
                self.repeated += 1
                return False
            known.missing.remove(seq)
            self.lost -= 1
            return True
        self.lost += seq - known.last - 1
        skipped = range(max(known.last + 1, seq - MOST_MISSING), seq)
        known.missing = [*known.missing, *skipped][-MOST_MISSING:]
        known.last = seq
        if len(self.instances) > MOST_INSTANCES:
            self.instances.pop(next(iter(self.instances)))
        return True

    def refuse(self, reason: str) -> None:
        """Count an entry, or a part of one, that could not be read."""
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def holds(self, entry_id: str) -> bool:
        """Whether an entry that Redis gives again belongs to the last committed batch."""
        return bool(self.first) and order_of(self.first) <= order_of(entry_id) <= order_of(self.last)


class Progress(_Part):
    """All streams; `batch` is the number of the last committed batch, which its files' names begin with."""

    batch: int = 0
    rows: dict[str, int] = {}
    streams: dict[str, Stream] = {}

    def stream(self, name: str) -> Stream:
        """A stream's part, new where there is none."""
        return self.streams.setdefault(name, Stream())

    def copied(self) -> "Progress":
        """A copy to count in, until the batch is on disk."""
        return self.model_copy(deep=True)


def read(folder: Path) -> Progress:
    """The progress of a folder. Raises DataError when it cannot be read, or is lost while its files are not."""
    path = folder / FILE
    try:
        return Progress.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        if any(folder.rglob(NUMBERED)):
            raise DataError(f"{path}: missing beside collected files; put it back, or move {folder} away") from None
        return Progress()
    except ValidationError as error:
        raise DataError(f"{path}: {error.errors()[0]['msg']}; put it back, or move {folder} away") from None


def commit(folder: Path, progress: Progress) -> None:
    """From here on the batch is collected."""
    write_durably(folder / FILE, lambda file: file.write(progress.model_dump_json(indent=1).encode()))


def order_of(entry_id: str) -> tuple[int, int]:
    """A stream id as Redis orders them."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number or 0)
