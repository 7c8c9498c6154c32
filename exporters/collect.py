"""What nobody needs any more, off the disk: drafts, releases, lines, versions, popular items, embeddings.

A release is kept while the record lists it, an orchestrator may still call it, or it is one of the newest; a line while
a kept release is of it, or it is the newest. Without a readable record nothing is guessed and nothing is removed.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.settings import Settings
from exporters.build import release_numbers
from exporters.errors import ManifestError
from exporters.lock import publishing
from exporters.manifest import Manifest, read
from exporters.publish import in_use, servers_of
from exporters.repository import sweep
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
        store.require()
        if not dry_run and settings.triton_control == "explicit":
            sweep(settings.runtime_repository, servers_of(settings), in_use(settings, store))
        unneeded = sorted(set(_unneeded(settings, store, keep)))
        freed = sum(_freed(path) for path in unneeded)
        for path in unneeded if not dry_run else ():
            _remove(path)
        return Collected(paths=tuple(str(path.relative_to(settings.workspace)) for path in unneeded), bytes=freed)


def _unneeded(settings: Settings, store: TrafficStore, keep: int) -> Iterator[Path]:
    numbers, traffic = release_numbers(settings.releases), store.require()
    called = {number for beat in store.heartbeats() for number in beat.releases}
    kept = {served.release for served in traffic.releases} | called | set(numbers[len(numbers) - keep :])
    yield from settings.releases.glob(".release-*")
    yield from settings.lines.glob(".line-*")
    yield from (settings.releases / str(number) for number in numbers if number not in kept)
    for mirror in settings.workspace.glob("popular-*.json"):
        if mirror.stem.removeprefix("popular-") not in {str(served.release) for served in traffic.releases}:
            yield mirror
    manifests = [manifest for number in kept & set(numbers) if (manifest := _manifest(settings, number))]
    needed = {manifest.line for manifest in manifests} | {served.line for served in traffic.releases}
    needed.add(latest(settings.lines).number)
    yield from (line for line in settings.lines.glob("[0-9]*") if line.name.isdigit() and int(line.name) not in needed)
    digests = {manifest.tower_digest for manifest in manifests} | {s.tower_digest for s in traffic.releases}
    digests.add(latest(settings.lines).tower_digest)
    yield from (known for known in settings.embeddings.glob("*") if known.name not in digests)


def _manifest(settings: Settings, number: int) -> Manifest | None:
    try:
        return read(settings.releases / str(number))
    except ManifestError:  # another revision's; its line is kept as long as the record lists it
        return None


def _freed(path: Path) -> int:
    """Bytes that removing it gives back: a file with another link elsewhere stays."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files if file.stat().st_nlink == 1)


def _remove(path: Path) -> None:
    """In one step out of sight, so that a killed run leaves a draft and no half release."""
    if path.is_file():
        path.unlink()
        return
    if not path.name.startswith("."):
        path = path.rename(path.with_name(f".release-{path.name}-gone" if path.parent.name == "releases"
                                          else f".line-{path.name}-gone"))  # fmt: skip
    shutil.rmtree(path)
