"""Building a synthetic release: a workspace of its own beside the trained one, then the exporter as ever."""

import hashlib
import json
import math
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from deploy.settings import Settings
from exporters.build import Report, build_release, some_users
from exporters.manifest import release_numbers
from feature_repo.vectors import Floats
from perf.catalogue.forest import Trees, write_resized
from perf.catalogue.source import SyntheticCatalogue, Trained
from perf.catalogue.vectors import local_dimension
from perf.errors import PerfError
from perf.memory import watched
from training.dataset import Dataset
from training.lines import FACTS, FOREST, Line, latest

SCALE = "scale"
STAMP = "made.json"
NEIGHBOURS = 100
MOST_CANDIDATES = 4096  # as Settings.candidates
FEW = 2_000_000  # items whose displays fit into any Redis
DISPLAY_BYTES, OTHER_BYTES = 400, 2 * 2**30  # of an item in Redis, with room to spare; of users and caches


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a catalogue was made from, in how many seconds, and the most memory its process took (MiB, PSS)."""

    told: str
    seconds: float
    peak_mib: int


def catalogue_settings(
    settings: Settings, items: int, candidates: int | None = None, trees: Trees | None = None
) -> Settings:
    """Settings of the workspace that holds a catalogue of `items`, beside the trained one it is made from."""
    k = candidates or settings.candidates
    if not 1 <= k <= MOST_CANDIDATES:
        raise PerfError(f"--candidates is {k}, expected 1 to {MOST_CANDIDATES}")
    shape = f"{trees.rounds}x{trees.leaves}" if trees else "trained"
    index = "" if settings.index == "auto" else f"-{settings.index}"
    home = settings.home / SCALE / f"{items}-k{k}-{shape}{index}"
    changes: dict[str, object] = {"home": home, "candidates": k}
    if items > FEW:
        changes["redis_memory"] = f"{math.ceil((items * DISPLAY_BYTES + OTHER_BYTES) / 2**30)}gb"
    return settings.model_copy(update=changes)


def make(
    settings: Settings,
    items: int,
    report: Report,
    *,
    candidates: int | None = None,
    trees: Trees | None = None,
    seed: int = 1,
    vectors: Floats | None = None,
    queries: Floats | None = None,
) -> Path:
    """Build release 1 of `catalogue_settings(settings, items, …)` from the newest line of `settings`; the release's
    folder. One that is there already, of the same line, is kept. Raises PerfError, ExportError.
    """
    if items < 1:
        raise PerfError(f"--items is {items}, expected at least 1")
    target, line = catalogue_settings(settings, items, candidates, trees), latest(settings.lines)
    require_current(settings, line)
    told = " ".join(map(str, (line.tower_digest, seed, target.index, target.index_memory_gib, target.profile,
                              _content(vectors), _content(queries))))  # fmt: skip
    if release_numbers(target.releases) == [1] and made(target).told == told:
        return target.releases / "1"
    shutil.rmtree(target.workspace, ignore_errors=True)
    started = time.monotonic()
    with watched(os.getpid()) as usage:
        report("reading the trained catalogue")
        source = SyntheticCatalogue(Trained.read(settings, line), items, seed, vectors, queries)
        report("local dimension around users: {:.1f} trained, {:.1f} drawn".format(*hardness(settings, line, source)))
        copied = borrow(settings, target, line, trees, report)
        source.write_shown(target.tables / "items")
        folder = build_release(target, copied, report, source)
    seconds, peak = round(time.monotonic() - started, 1), round(usage.peak_mib)
    stamp = Made(told=told, seconds=seconds, peak_mib=peak)
    (target.workspace / STAMP).write_text(json.dumps(asdict(stamp)) + "\n")
    return folder


def hardness(settings: Settings, line: Line, source: SyntheticCatalogue) -> tuple[float, float]:
    """Intrinsic dimension of real users' neighbourhoods among the trained vectors, and among as many drawn ones."""
    users = some_users(Dataset(settings.features), line).embeddings
    trained, drawn = source.samples()
    return local_dimension(users @ trained.T, NEIGHBOURS), local_dimension(users @ drawn.T, NEIGHBOURS)


def _content(vectors: Floats | None) -> str:
    """What tells one file of vectors from another, short of reading all of it."""
    if vectors is None:
        return "none"
    few = np.ascontiguousarray(vectors[:: max(1, len(vectors) // 1000)])
    return f"{vectors.shape} {hashlib.sha256(few.tobytes()).hexdigest()[:16]}"


def made(target: Settings) -> Made:
    """What building the catalogue of a workspace took; of one that is not finished, nothing."""
    path = target.workspace / STAMP
    return Made(**json.loads(path.read_text())) if path.is_file() else Made(told="", seconds=0.0, peak_mib=0)


def borrow(settings: Settings, target: Settings, line: Line, trees: Trees | None, report: Report) -> Line:
    """Features by reference and the line by hard links, with a forest of the size that is asked for."""
    target.workspace.mkdir(parents=True)
    target.features.symlink_to(settings.features.resolve(), target_is_directory=True)
    copy = Line(1, target.lines / "1")
    shutil.copytree(line.folder, copy.folder, copy_function=os.link)
    if trees is not None:
        report(f"a forest of 3 x {trees.rounds} trees of {trees.leaves} leaves")
        (copy.folder / FOREST).unlink()
        write_resized(line, Dataset(settings.features), trees, copy.folder / FOREST)
    return copy


def require_current(settings: Settings, line: Line) -> None:
    """Raises PerfError when the trained workspace is not complete."""
    if not (line.folder / FACTS).is_file() or not settings.features.is_dir():
        raise PerfError(f"{settings.workspace} has no features or no line; run `make demo` first")
