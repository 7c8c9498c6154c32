"""A release is exactly what its manifest says, and its parts belong together; else it is refused before Triton sees it.

    listing (nothing more, nothing less, no links) → sizes → SHA-256 → contents → towers, table and index fit
"""  # fmt: skip

import json
from pathlib import Path

from exporters.contents import index_head, require_content
from exporters.errors import ManifestError
from exporters.manifest import FILE, TABLE, Manifest, Slot, read, sha256
from exporters.signing import SIGNATURE
from model_repository.contract import BY_NAME, CANDIDATE_SEARCH, COMPONENTS, ITEM_TOWER, MODELS, USER_TOWER
from training.lines import tower_digest

REQUIRED = frozenset(model.name for model in MODELS)
SLOTS = frozenset(model.name for model in COMPONENTS)


def verify(folder: Path) -> Manifest:
    """Read the manifest and check everything against it. Raises ManifestError naming the first difference."""
    _require_plain(folder)
    manifest = read(folder)
    if folder.name != str(manifest.release):
        raise ManifestError(f"{folder}: its manifest is release {manifest.release}'s")
    if not REQUIRED <= set(manifest.slots) <= SLOTS:
        raise ManifestError(f"release {manifest.release}: slots {sorted(manifest.slots)}, expected {sorted(SLOTS)}")
    extra = sorted({path.name for path in folder.iterdir()} - set(manifest.slots) - {FILE, SIGNATURE})
    if extra:
        raise ManifestError(f"release {manifest.release}: {extra} are not in the manifest")
    for name, slot in manifest.slots.items():
        _require_listing(folder / name, slot, f"release {manifest.release}: {name}")
    for name, slot in manifest.slots.items():
        for file in slot.files:
            require_content(folder / name / file)
    _require_fit(folder, manifest)
    return manifest


def _require_plain(folder: Path) -> None:
    if folder.is_symlink():
        raise ManifestError(f"{folder}: a release holds plain files and folders, not links")
    for path in (folder / FILE, folder / SIGNATURE):
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise ManifestError(f"{path}: a release holds plain files, not links, pipes or folders")


def _require_listing(folder: Path, slot: Slot, where: str) -> None:
    """The slot's files, its artifact among them, their sizes, then their hashes: the cheap is looked at first."""
    if (artifact := BY_NAME[folder.name].artifact) not in slot.files:
        raise ManifestError(f"{where} has no {artifact}")
    if folder.is_symlink() or not folder.is_dir():
        raise ManifestError(f"{where} is missing or not a folder")
    found = {path.name: path for path in folder.iterdir()}
    for file in sorted(found.keys() | slot.files.keys()):
        if file not in found:
            raise ManifestError(f"{where}/{file} is missing")
        if file not in slot.files:
            raise ManifestError(f"{where}/{file} is not in the manifest")
        if found[file].is_symlink() or not found[file].is_file():
            raise ManifestError(f"{where}/{file}: a release holds plain files, nothing else")
    for file, entry in slot.files.items():
        if (size := found[file].stat().st_size) != entry.size:
            raise ManifestError(f"{where}/{file} has {size} bytes, the manifest says {entry.size}")
    for file, entry in slot.files.items():
        if sha256(found[file]) != entry.sha256:
            raise ManifestError(f"{where}/{file} differs from the manifest's SHA-256")


def _require_fit(folder: Path, manifest: Manifest) -> None:
    """Towers, table and index are of one line and one generation."""
    number, candidates = manifest.release, folder / CANDIDATE_SEARCH.name
    digest = tower_digest(*(folder / tower.name / tower.artifact for tower in (USER_TOWER, ITEM_TOWER)))
    table = json.loads((candidates / TABLE).read_bytes()) if (candidates / TABLE).is_file() else None
    if not isinstance(table, dict):
        raise ManifestError(f"release {number}: {candidates.name}/{TABLE} is missing or not an object")
    _, items, _ = index_head(candidates / CANDIDATE_SEARCH.artifact)
    facts = {
        "the towers' digest": (digest, manifest.tower_digest),
        "the tower digest of the item table": (table.get("tower_digest"), manifest.tower_digest),
        "the schema of the item table": (table.get("schema_hash"), manifest.schema_hash),
        "the items of the table": (table.get("items"), manifest.index.items),
        "the items of the index": (items, manifest.index.items),
    }
    for what, (found, expected) in facts.items():
        if found != expected:
            raise ManifestError(f"release {number}: {what} is {found}, its manifest says {expected}")
