"""Publishing a release: verify → install into the runtime repository → load → golden queries → traffic.

A version folder is written once, under its final name, by a rename; Triton is asked to load, and touches only what is
new. Killed anywhere, the releases that served keep serving, and the next run starts over.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from deploy.settings import Settings
from exporters.build import release_numbers, sync_tree
from exporters.errors import ExportError, ManifestError
from exporters.golden import Golden
from exporters.manifest import Manifest, read, verify
from exporters.server import Server
from exporters.table import POPULAR
from exporters.traffic import TrafficStore, replace_file
from feature_repo.materialize import connect, write_displays
from feature_repo.schema import SCHEMA
from feature_repo.store import items_as_of
from model_repository.contract import BY_NAME, CANDIDATE_SEARCH, recommend_name
from model_repository.render import model_config, recommend_config, text
from model_repository.traffic import Popular, ServedRelease, Traffic
from training.lines import Line

Report = Callable[[str], None]
RECOMMEND_VERSION = 1  # an ensemble's name carries the release; its only version is 1


def publish(settings: Settings, number: int, report: Report, promote: bool = True) -> dict[str, float]:
    """Put release `number` on Triton, prove it, and let traffic go to it. Returns the golden figures.

    Raises ExportError; nothing that served before is touched then.
    """
    server = Server(settings.triton_url)
    server.check()
    report("verify hashes")
    folder = settings.releases / str(number)
    manifest = verify(folder)
    install(settings, manifest, server)
    report("load on Triton")
    load(server, manifest)
    report("golden queries through Triton")
    line = Line(manifest.line, settings.lines / str(manifest.line))
    figures = Golden(settings=settings, manifest=manifest, line=line, release=folder).check(server)
    with connect(settings) as client:
        write_displays(client, settings.tables / "items")
    store = TrafficStore(settings)
    store.write_popular(
        Popular(release=number, items=json.loads((folder / CANDIDATE_SEARCH.name / POPULAR).read_text()))
    )
    if promote:
        report("traffic")
        store.promote(served(manifest), settings.triton_url)
    return figures


def install(settings: Settings, manifest: Manifest, server: Server) -> None:
    """Copy what the runtime repository lacks. Raises ExportError when the config of a loaded name would change."""
    repository = settings.runtime_repository
    repository.mkdir(parents=True, exist_ok=True)
    clean_drafts(repository)
    candidates = manifest.index.candidates
    for slot in manifest.slots.values():
        config = model_config(BY_NAME[slot.model], settings.profile, candidates)
        _write_config(server, repository / slot.model, text(config))
        source = settings.releases / str(manifest.release) / slot.model
        _install_version(repository / slot.model / str(slot.version), source)
    versions = {name: slot.version for name, slot in manifest.slots.items()}
    ensemble = repository / recommend_name(manifest.release)
    _write_config(server, ensemble, text(recommend_config(manifest.release, versions, candidates)))
    (ensemble / str(RECOMMEND_VERSION)).mkdir(exist_ok=True)


def load(server: Server, manifest: Manifest) -> None:
    """Load every part of the release, then the ensemble over them, and wait for each version."""
    for slot in manifest.slots.values():
        if not server.ready(slot.model, slot.version):
            server.load(slot.model)
    for slot in manifest.slots.values():
        server.wait(slot.model, slot.version)
    ensemble = recommend_name(manifest.release)
    if not server.ready(ensemble, RECOMMEND_VERSION):
        server.load(ensemble)
    server.wait(ensemble, RECOMMEND_VERSION)


def restore(settings: Settings) -> Traffic:
    """Load what the record lists on a server that has just started, and put the record back in Redis.

    A release that carries nobody and does not fit beside the others (another schema, another number of candidates, a
    manifest of another revision) is dropped from the record.
    """
    store = TrafficStore(settings)
    traffic = store.read()
    if traffic is None:
        raise ExportError(f"{settings.workspace} has no traffic record; publish a release first")
    server = Server(settings.triton_url)
    server.check()
    carried = {arm.release for arm in traffic.arms}
    manifests = {number: verify(settings.releases / str(number)) for number in sorted(carried)}
    widths = {manifest.index.candidates for manifest in manifests.values()}
    for release in traffic.releases:
        if release.release not in carried and (spare := fitting(settings, release, widths)) is not None:
            manifests[release.release] = spare
    kept = tuple(release for release in traffic.releases if release.release in manifests)
    for release in kept:
        manifest = manifests[release.release]
        install(settings, manifest, server)
        load(server, manifest)
        store.restore_popular(release.release)
    restored = traffic.model_copy(update={"triton": (settings.triton_url,), "releases": kept})
    store.write(restored)
    return restored


def fitting(settings: Settings, release: ServedRelease, widths: set[int]) -> Manifest | None:
    """The manifest of a release that carries nobody, where it can be loaded beside those that do."""
    if release.schema_hash != SCHEMA.hash:
        return None
    try:
        manifest = verify(settings.releases / str(release.release))
    except ManifestError:
        return None
    return manifest if manifest.index.candidates in widths else None


def published(settings: Settings) -> list[int]:
    """Finished releases of the workspace that its traffic record names."""
    traffic = TrafficStore(settings).mirrored()
    carried = {served.release for served in traffic.releases} if traffic else set()
    return [number for number in release_numbers(settings.releases) if number in carried]


def unpublished(settings: Settings, line: Line) -> int | None:
    """The newest release, if it is of this line and of the features as they are now, and never carried traffic."""
    newest = max(release_numbers(settings.releases), default=0)
    if newest == 0 or newest in published(settings):
        return None
    try:
        manifest = read(settings.releases / str(newest))
    except ManifestError:  # of another revision
        return None
    same = manifest.line == line.number and manifest.tower_digest == line.tower_digest
    current = manifest.source == settings.source and manifest.as_of == items_as_of(settings).isoformat()
    return newest if same and current else None


def served(manifest: Manifest) -> ServedRelease:
    """The release as the traffic record states it."""
    slot = manifest.slots
    return ServedRelease(
        release=manifest.release,
        line=manifest.line,
        user_tower=(slot["user_tower"].model, slot["user_tower"].version),
        candidates=(slot["candidates"].model, slot["candidates"].version),
        recommend=(recommend_name(manifest.release), RECOMMEND_VERSION),
        tower_digest=manifest.tower_digest,
        schema_hash=manifest.schema_hash,
        ranked=manifest.index.candidates,
    )


def clean_drafts(repository: Path) -> None:
    """Remove version folders an interrupted publish left unfinished."""
    for draft in repository.glob("*/.version-*"):
        shutil.rmtree(draft)


def _write_config(server: Server, folder: Path, content: str) -> None:
    """Write a model's config.pbtxt once. Another contract's folder is replaced only while nothing of it is loaded."""
    path = folder / "config.pbtxt"
    if path.exists() and path.read_text() == content:
        return
    if path.exists() and server.loaded(folder.name):
        raise ExportError(
            f"{folder.name}: Triton serves another config.pbtxt under this name; stop the stack, or give the "
            "changed contract a new model name"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    replace_file(path, content)


def _install_version(target: Path, source: Path) -> None:
    """Hard-link (or copy) an artifact folder and rename it into place; an existing version is left untouched."""
    if target.exists():
        return
    draft = Path(tempfile.mkdtemp(prefix=".version-", dir=target.parent))
    for file in source.iterdir():
        try:
            os.link(file, draft / file.name)
        except OSError:
            shutil.copyfile(file, draft / file.name)
    draft.chmod(0o755)
    sync_tree(draft)
    draft.rename(target)
