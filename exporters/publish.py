"""Publishing a release: verify → install → load → golden queries → popular items → listed in the traffic record.

Nobody is sent to it yet: `exporters.rollout` does that, in the record alone. What serves is never reloaded. Killed
anywhere, the releases that served keep serving, and the next run first takes out what this one left behind.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from deploy.settings import Settings
from exporters.errors import ExportError, ManifestError, ServerError
from exporters.golden import Golden
from exporters.lock import publishing
from exporters.manifest import POPULAR, Manifest, read, release_numbers
from exporters.overlay import decided
from exporters.queries import RANKER_ROWS
from exporters.repository import RECOMMEND_VERSION, install, load, needed, remove_drafts, sweep
from exporters.rollout import listed
from exporters.server import Server
from exporters.signing import require_signature
from exporters.traffic import TrafficStore, now
from exporters.verify import verify
from feature_repo.displays import write_displays
from feature_repo.schema import SCHEMA
from feature_repo.store import connect, items_as_of
from model_repository.contract import CANDIDATE_SEARCH, RANKER, recommend_name
from model_repository.traffic import Change, Popular, ServedModel, ServedRelease, Traffic
from training.lines import Line

Report = Callable[[str], None]
BREATH_S = 1.0  # between two parts that are loaded beside others that serve


def publish(settings: Settings, number: int, report: Report, endpoints: Sequence[str] = ()) -> dict[str, float]:
    """Put release `number` on every Triton server of `endpoints` (default: this workspace's), prove it on each, and
    list it in the traffic record. Returns the golden figures, the worst of the servers.

    In `--model-control-mode=none` nothing is loaded: the servers were started with what `stage` wrote, and this waits
    for them. Raises ExportError; nothing that served before is touched then.
    """
    with publishing(settings):
        report("verify")
        manifest = require_servable(settings, number)
        store, servers = TrafficStore(settings), servers_of(settings, endpoints)
        report("clean up")
        _clean_up(settings, store, servers)
        try:
            figures = _prove(settings, manifest, servers, report)
        except ExportError:
            report("take it out again")
            with suppress(ExportError):  # a Triton that is gone: the next publish does it
                _clean_up(settings, store, servers)
            raise
        report("display rows")
        with connect(settings) as client:
            write_displays(client, settings.tables / "items")
        report("popular items")
        items = json.loads((settings.releases / str(number) / CANDIDATE_SEARCH.name / POPULAR).read_text())
        store.write_popular(Popular(release=number, items=items))
        report("list")
        store.change(lambda before: listed(before, served(manifest, [server.url for server in servers])))
        return figures


def require_servable(settings: Settings, number: int) -> Manifest:
    """The verified manifest of a release that this revision can serve. Raises ManifestError."""
    if number not in release_numbers(settings.releases):
        raise ManifestError(f"no release {number}; there are {release_numbers(settings.releases)}")
    folder = settings.releases / str(number)
    if settings.verifying_key is not None:
        require_signature(folder, settings.verifying_key)
    manifest = verify(folder)
    if manifest.schema_hash != SCHEMA.hash:
        raise ManifestError(
            f"release {number} was built with feature schema {manifest.schema_hash}, this revision has {SCHEMA.hash}; "
            "build another one with `python -m exporters publish`"
        )
    return manifest


def servers_of(settings: Settings, endpoints: Sequence[str] = ()) -> list[Server]:
    """The servers to publish on, each of which answers. Raises ServerError."""
    servers = [Server(url, settings.triton_key) for url in endpoints or (settings.triton_url,)]
    for server in servers:
        server.check()
    return servers


def require_ready(settings: Settings, release: ServedRelease) -> None:
    """Every server of the release has it ready. Raises ServerError naming the first that has not."""
    for url in release.triton:
        for name, version in (release.recommend, release.candidates, release.user_tower):
            if not Server(url, settings.triton_key).ready(name, version):
                raise ServerError(
                    f"{name} version {version} is not ready on Triton at {url}; `python -m exporters publish --release "
                    f"{release.release}` loads it"
                )


def stage(settings: Settings, number: int, repository: Path) -> Manifest:
    """Write a model repository with release `number` alone, for servers in `--model-control-mode=none`.

    Raises ExportError, also when the folder holds anything already.
    """
    if repository.exists() and any(repository.iterdir()):
        raise ExportError(f"{repository} is not empty; name a new folder")
    manifest = require_servable(settings, number)
    install(repository, settings, manifest, ())
    return manifest


def restore(settings: Settings) -> Traffic:
    """Load what the record lists on a server that has just started, and put the record back in Redis.

    A release that carries nobody and can no longer be served (another schema, files or manifest of another revision)
    is dropped from the record.
    """
    store = TrafficStore(settings)
    with publishing(settings):
        traffic = store.read()
        if traffic is None:
            raise ExportError(f"{settings.workspace} has no traffic record; run `python -m exporters publish` first")
        servers, manifests = servers_of(settings), loadable(settings, traffic)
        sweep(settings.runtime_repository, servers, set().union(*map(needed, manifests.values())))
        for number, manifest in manifests.items():
            install(settings.runtime_repository, settings, manifest, ())
            load(servers[0], manifest)
            store.restore_popular(number)
        return store.change(lambda before: _restored(before or traffic, manifests, settings.triton_url))


def published(settings: Settings) -> list[int]:
    """Finished releases of the workspace that its traffic record names."""
    traffic = TrafficStore(settings).mirrored()
    return [number for number in release_numbers(settings.releases) if traffic and number in traffic.listed]


def unpublished(settings: Settings, line: Line) -> int | None:
    """The newest release, if it is of this line and of the features as they are now, and was never published.

    One of a revision that kept no golden rows with its forest is none.
    """
    newest = max(release_numbers(settings.releases), default=0)
    if newest == 0 or newest in published(settings):
        return None
    try:
        manifest = read(settings.releases / str(newest))
    except ManifestError:  # of another revision
        return None
    same = manifest.line == line.number and manifest.tower_digest == line.tower_digest
    current = manifest.source == settings.source and manifest.as_of == items_as_of(settings).isoformat()
    return newest if same and current and RANKER_ROWS in manifest.slots[RANKER.name].files else None


def served(manifest: Manifest, endpoints: Sequence[str]) -> ServedRelease:
    """The release as the traffic record states it."""
    models = {name: (slot.model, slot.version) for name, slot in manifest.slots.items()}
    return ServedRelease(
        release=manifest.release,
        line=manifest.line,
        user_tower=models["user_tower"],
        candidates=models["candidates"],
        recommend=(recommend_name(manifest.release), RECOMMEND_VERSION),
        tower_digest=manifest.tower_digest,
        schema_hash=manifest.schema_hash,
        triton=tuple(endpoints),
        ranked=manifest.index.candidates,
        assemble=models["assemble"],
        explain=models.get("explain"),
    )


def in_use(settings: Settings, store: TrafficStore) -> set[ServedModel]:
    """Model versions that a listed release needs, or one that some orchestrator may still call. Raises ExportError."""
    traffic = store.read()
    numbers = store.called() | (traffic.listed if traffic else frozenset())
    return set().union(*(needed(read(settings.releases / str(number))) for number in numbers))


def _clean_up(settings: Settings, store: TrafficStore, servers: Sequence[Server]) -> None:
    """Take out what an interrupted or refused publish left; Triton would load it with the next version."""
    if settings.triton_control == "explicit":
        sweep(settings.runtime_repository, servers, in_use(settings, store))
    else:
        remove_drafts(settings.runtime_repository)


def _prove(settings: Settings, manifest: Manifest, servers: Sequence[Server], report: Report) -> dict[str, float]:
    if settings.triton_control == "explicit":
        report("install")
        loaded = set().union(*(server.loaded() for server in servers))
        install(settings.runtime_repository, settings, manifest, loaded)
        report("load on Triton")
        for server in servers:
            load(server, manifest, BREATH_S if loaded else 0.0)
    else:
        report("wait for Triton")
        for server in servers:
            for name, version in sorted(needed(manifest)):
                server.wait(name, version)
    report("golden queries through Triton")
    release = settings.releases / str(manifest.release)
    golden = Golden(manifest=manifest, release=release, decided=decided(settings, report))
    figures = [golden.check(server) for server in servers]
    worst = {name: max(f[name] for f in figures) for name in figures[0]}
    return worst | {"golden_recall": min(f["golden_recall"] for f in figures)}


def loadable(settings: Settings, traffic: Traffic) -> dict[int, Manifest]:
    """Manifests of the listed releases; those that carry nobody and cannot be served are left out."""
    manifests = {number: require_servable(settings, number) for number in sorted(traffic.carried)}
    for spare in traffic.releases:
        if spare.release not in manifests:
            with suppress(ManifestError):
                manifests[spare.release] = require_servable(settings, spare.release)
    return manifests


def _restored(before: Traffic, manifests: dict[int, Manifest], url: str) -> Traffic:
    kept = tuple(served(manifest, (url,)) for manifest in manifests.values())
    champions = tuple(number for number in before.champions if number in manifests)
    dropped = sorted(before.listed - set(manifests))
    reason = f"releases {dropped} can no longer be served" if dropped else ""
    change = Change(action="restore", reason=reason, at=now())
    return before.model_copy(update={"releases": kept, "champions": champions, "changed": change})
