"""What nobody needs any more, off the disk: drafts, releases, lines, versions, popular items, embeddings.

A release is kept while the record lists it, an orchestrator may still call it, or it is one of the newest; a line while
a kept release is of it, or it is the newest. Without a readable record nothing is guessed and nothing is removed.
Training takes no lock of ours: of the lines' drafts only those that a killed gc left are known to be nobody's.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.settings import Settings
from exporters.errors import ManifestError
from exporters.lock import publishing
from exporters.manifest import Manifest, read, release_numbers
from exporters.publish import in_use, servers_of
from exporters.repository import installed, sweep
from exporters.traffic import TrafficStore
from training.lines import latest

KEEP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What was removed, or would be, relative to the workspace, and the bytes that gives back."""

    paths: tuple[str, ...]
    bytes: int


def collect(settings: Settings, keep: int = KEEP, dry_run: bool = False) -> Collected:
    """Remove what nobody needs. Raises TrafficError without a record, ServerError when Redis does not answer."""
    with publishing(settings):
        store = TrafficStore(settings)
        unneeded = sorted({*_unneeded(settings, store, keep), *_unserved(settings, store)})
        freed = _freed(unneeded)
        if not dry_run:
            if settings.triton_control == "explicit":
                sweep(settings.runtime_repository, servers_of(settings), in_use(settings, store))
            for path in filter(Path.exists, unneeded):
                _remove(path)
        return Collected(paths=tuple(str(path.relative_to(settings.workspace)) for path in unneeded), bytes=freed)


def _unneeded(settings: Settings, store: TrafficStore, keep: int) -> Iterator[Path]:
    numbers, traffic = release_numbers(settings.releases), store.require()
    kept = traffic.listed | store.called() | set(numbers[-max(keep, 1) :])
    yield from settings.releases.glob(".release-*")
    yield from settings.lines.glob(".line-*-gone")
    yield from (settings.releases / str(number) for number in numbers if number not in kept)
    for mirror in settings.workspace.glob("popular-*.json"):
        if mirror.stem.removeprefix("popular-") not in set(map(str, traffic.listed)):
            yield mirror
    manifests = [manifest for number in kept & set(numbers) if (manifest := _manifest(settings, number))]
    needed = {manifest.line for manifest in manifests} | {served.line for served in traffic.releases}
    newest = latest(settings.lines)
    for line in settings.lines.glob("[0-9]*"):
        if line.name.isdigit() and int(line.name) < newest.number and int(line.name) not in needed:
            yield line
    digests = {manifest.tower_digest for manifest in manifests} | {s.tower_digest for s in traffic.releases}
    digests.add(newest.tower_digest)
    yield from (known for known in settings.embeddings.glob("*") if known.name not in digests)


def _unserved(settings: Settings, store: TrafficStore) -> Iterator[Path]:
    """In the runtime repository: versions that no listed or called release needs, drafts, models without a version."""
    repository = settings.runtime_repository
    yield from repository.glob("*/.version-*")
    yield from (path for path in repository.glob("*") if path.is_dir() and not any(map(Path.is_dir, path.iterdir())))
    if settings.triton_control == "explicit":
        needed = in_use(settings, store)
        yield from (repository / name / str(v) for name, v in installed(repository) if (name, v) not in needed)


def _manifest(settings: Settings, number: int) -> Manifest | None:
    try:
        return read(settings.releases / str(number))
    except ManifestError:  # another revision's; its line is kept as long as the record lists it
        return None


def _freed(paths: Iterable[Path]) -> int:
    """Bytes that removing them gives back: a file with another link elsewhere stays."""
    links, files = Counter[tuple[int, int]](), {}
    for path in paths:
        for file in [path] if path.is_file() else filter(Path.is_file, path.rglob("*")):
            found = file.stat()
            links[found.st_dev, found.st_ino] += 1
            files[found.st_dev, found.st_ino] = found
    return sum(found.st_size for inode, found in files.items() if links[inode] == found.st_nlink)


def _remove(path: Path) -> None:
    """In one step out of sight, so that a killed run leaves a draft and no half release."""
    if path.is_file():
        path.unlink()
        return
    if not path.name.startswith("."):
        path = path.rename(path.with_name(f".{path.parent.name.removesuffix('s')}-{path.name}-gone"))
    shutil.rmtree(path)
