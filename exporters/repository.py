"""The runtime model repository: what a release needs in it, put there once; what nobody needs, taken out.

A name keeps its contract (`exporters.names`). Version folders appear and vanish by a rename, so Triton, which is told
afterwards, touches only what is new or gone.
"""

import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from deploy.settings import Settings
from exporters.errors import ExportError
from exporters.files import link_or_copy, replace_file, sync_tree
from exporters.manifest import Manifest
from exporters.names import CONFIG
from exporters.server import Server
from model_repository.contract import BY_NAME, RECOMMEND, recommend_name
from model_repository.render import contract_hash, model_config, parse, recommend_config, text
from model_repository.traffic import ServedModel

RECOMMEND_VERSION = 1  # an ensemble's name carries the release; its only version is 1


def needed(manifest: Manifest) -> set[ServedModel]:
    """Every model version of a release, its ensemble included."""
    slots = {(slot.model, slot.version) for slot in manifest.slots.values()}
    return slots | {(recommend_name(manifest.release), RECOMMEND_VERSION)}


def install(repository: Path, settings: Settings, manifest: Manifest, loaded: Collection[ServedModel]) -> None:
    """Add what the repository lacks of a release. Raises ExportError when a name is held by another contract."""
    repository.mkdir(parents=True, exist_ok=True)
    candidates = manifest.index.candidates
    busy = {name for name, _ in loaded}
    for name, slot in manifest.slots.items():
        config = text(model_config(BY_NAME[name], settings.profile, candidates, slot.model))
        _hold_name(repository / slot.model, config, slot.model in busy)
        source = settings.releases / str(manifest.release) / name
        _install_version(repository / slot.model / str(slot.version), source)
    models = {name: (slot.model, slot.version) for name, slot in manifest.slots.items()}
    ensemble = repository / recommend_name(manifest.release)
    config = text(recommend_config(manifest.release, models, candidates))
    _hold_name(ensemble, config, ensemble.name in busy)
    (ensemble / str(RECOMMEND_VERSION)).mkdir(exist_ok=True)


def remove_drafts(repository: Path) -> None:
    """Remove version folders that an interrupted publish left unfinished, or an interrupted sweep half removed."""
    for draft in repository.glob("*/.version-*"):
        shutil.rmtree(draft)


def sweep(repository: Path, servers: Sequence[Server], keep: set[ServedModel]) -> list[ServedModel]:
    """Take every model version that is not in `keep` out of the repository and off the servers. Returns them.

    Ensembles go first, since they hold what they call; each version has left before the next is told to, because
    several processes that end at once hold up what serves.
    """
    remove_drafts(repository)
    gone = sorted(set(installed(repository)) - keep, key=lambda served: (not _is_ensemble(served[0]), served))
    for name, version in gone:
        _take_out(repository / name / str(version))
        left = any(model == name for model, _ in installed(repository))
        for server in servers:
            server.load(name) if left else server.unload(name)  # loading again drops just the missing version
            server.await_gone(name, version)
        if not left:
            shutil.rmtree(repository / name)
    return gone


def installed(repository: Path) -> Iterator[ServedModel]:
    """Every model version that the repository holds."""
    for folder in repository.glob("*/[0-9]*"):
        if folder.is_dir() and folder.name.isdigit():
            yield folder.parent.name, int(folder.name)


def load(server: Server, manifest: Manifest, breath_s: float = 0.0) -> None:
    """Load every part of the release that is not loaded, then the ensemble over them, and wait for each version.

    `breath_s` seconds lie between two parts: starting a process holds up a little whoever is served beside it.
    """
    for slot in manifest.slots.values():
        if not server.ready(slot.model, slot.version):
            server.load(slot.model)
            server.wait(slot.model, slot.version)
            time.sleep(breath_s)
    ensemble = recommend_name(manifest.release)
    if not server.ready(ensemble, RECOMMEND_VERSION):
        server.load(ensemble)
    server.wait(ensemble, RECOMMEND_VERSION)


def _is_ensemble(name: str) -> bool:
    return name.startswith(f"{RECOMMEND.name}_")


def _hold_name(folder: Path, content: str, loaded: bool) -> None:
    """Write a model's config.pbtxt. While a version is loaded it stays, since Triton would reload all of them; a
    changed placement then takes effect at Triton's next start."""
    path = folder / CONFIG
    if not path.is_file():
        folder.mkdir(exist_ok=True)
        replace_file(path, content)
        return
    held = path.read_text()
    if contract_hash(parse(held)) != contract_hash(parse(content)):
        raise ExportError(
            f"{folder.name}: another contract holds this name; build the release again, it gets a new one"
        )
    if held != content and not loaded:
        replace_file(path, content)


def _install_version(target: Path, source: Path) -> None:
    """Hard-link (or copy) an artifact folder and rename it into place; an existing version is left untouched."""
    if target.exists():
        return
    draft = Path(tempfile.mkdtemp(prefix=".version-", dir=target.parent))
    for file in source.iterdir():
        link_or_copy(file, draft / file.name)
    draft.chmod(0o755)
    sync_tree(draft)
    draft.rename(target)


def _take_out(folder: Path) -> None:
    """Out of Triton's sight in one step, then removed."""
    draft = folder.with_name(f".version-{folder.name}-gone")
    folder.rename(draft)
    shutil.rmtree(draft)
