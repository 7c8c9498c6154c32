"""What has been collected for good: `served/progress.json`, replaced as a whole after each batch.

The numbers of an instance (one orchestrator process) run from 1 without gaps, for each stream. A number that is passed
over is missing until it arrives after all, from the file where entries wait while Redis is away; one that was seen
already came twice, because a write whose answer was lost is written again.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from training.errors import DataError
from training.served.parts import NUMBERED, write_durably

FILE = "progress.json"
MOST_GAPS, MOST_INSTANCES = 1_000, 1_000  # remembered; what falls before them is taken for new


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Instance(_Part):
    """One process: the largest number seen, and the gaps below it, (first, last), that are known since `known_from`."""

    last: int = 0
    gaps: list[tuple[int, int]] = []
    known_from: int = 1

    def missing(self, seq: int) -> bool:
        """Whether a number at most `last` is one that never came; it has come then."""
        if seq < self.known_from:
            return True
        for n, (first, last) in enumerate(self.gaps):
            if first <= seq <= last:
                left = [(first, seq - 1), (seq + 1, last)]
                self.gaps[n : n + 1] = [gap for gap in left if gap[0] <= gap[1]]
                return True
        return False

    def reach(self, seq: int) -> int:
        """Go on to a number beyond `last`; returns how many were passed over."""
        passed = seq - self.last - 1
        if passed:
            self.gaps.append((self.last + 1, seq - 1))
        if len(self.gaps) > MOST_GAPS:
            self.known_from = self.gaps.pop(0)[1] + 1
        self.last = seq
        return passed


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
        if seq > known.last:
            self.lost += known.reach(seq)
        elif known.missing(seq):
            self.lost -= 1
        else:
            self.repeated += 1
            return False
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
