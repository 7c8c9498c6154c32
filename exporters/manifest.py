"""`releases/N/manifest.json`: what a release is, and the hash of every file of it."""

import hashlib
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deploy.triton.backends.pace import breathe
from exporters.errors import ManifestError

FILE = "manifest.json"
TABLE, POPULAR = "table.json", "popular.json"  # of a generation: what its arrays hold, what is shown to anybody
PART = 1 << 20  # bytes hashed between two pauses
SUFFIXES = (".onnx", ".tl", ".faiss", ".npy", ".json", ".txt")  # what a release may hold; no pickle
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.(onnx|tl|faiss|npy|json|txt)$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Part):
    """One file: size in bytes and SHA-256."""

    size: int
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Slot(_Part):
    """A role in the path, the Triton model and version that fill it, and its files. Names are plain: no path."""

    model: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    version: Annotated[int, Field(ge=1)]
    files: dict[FileName, FileEntry]


class IndexFacts(_Part):
    """How the index searches, and the recall it reaches against exact search on user embeddings.

    `recall` is that of the `candidates` nearest; `milliseconds` what one query took when the index was tuned, 0 where
    nothing was chosen by time.
    """

    kind: Literal["flat", "ivf", "hnsw"]
    codec: Literal["fp32", "fp16", "sq8"] = "fp32"
    items: int
    dimension: int
    metric: Literal["inner_product"] = "inner_product"
    candidates: Annotated[int, Field(ge=1)]
    nlist: int = 0
    nprobe: int = 0
    ef_search: int = 0
    recall: float
    bytes_per_item: int
    milliseconds: float = 0.0


class Manifest(_Part):
    """A release: a line and one build of its catalogue.

    `overlay_position`: how many batches the overlay had then, which is laid over the catalogue where it is served; None
    where Redis did not say.
    """

    release: Annotated[int, Field(ge=1)]
    line: Annotated[int, Field(ge=1)]
    slots: dict[str, Slot]
    index: IndexFacts
    schema_hash: str
    tower_digest: str
    source: str
    as_of: str
    libraries: dict[str, str]
    gates: dict[str, float]
    metrics: dict[str, Any]
    parent: int | None = None
    overlay_position: int | None = None
    git_revision: str | None = None
    created_at: datetime

    @model_validator(mode="after")
    def _names(self) -> "Manifest":
        for name, slot in self.slots.items():
            if not re.fullmatch(rf"{re.escape(name)}(_[0-9a-f]{{8}})?", slot.model):
                raise ValueError(
                    f"slots.{name}.model is {slot.model!r}; it is the slot's name, or that and its contract"
                )
        return self

    def version(self, slot: str) -> int:
        """The version that fills a slot."""
        return self.slots[slot].version


def release_numbers(folder: Path) -> list[int]:
    """Numbers of the finished releases, ascending."""
    return sorted(int(p.name) for p in folder.glob("[0-9]*") if p.name.isdigit() and (p / FILE).is_file())


def file_entries(folder: Path) -> dict[str, FileEntry]:
    """Entries of every file of a slot's folder. Raises ManifestError for what a release may not hold."""
    entries = {}
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file() or path.suffix not in SUFFIXES:
            raise ManifestError(f"{path}: a release holds plain files of {', '.join(SUFFIXES)}, nothing else")
        entries[path.name] = FileEntry(size=path.stat().st_size, sha256=sha256(path))
    return entries


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(PART):
            digest.update(part)
            breathe()
    return digest.hexdigest()


def read(folder: Path) -> Manifest:
    """Read a release's manifest. Raises ManifestError."""
    path = folder / FILE
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}; not a release") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ManifestError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
