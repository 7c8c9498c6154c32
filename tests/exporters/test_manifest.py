"""A release is exactly what its manifest says, or it is refused."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exporters.errors import ManifestError
from exporters.manifest import FILE, IndexFacts, Manifest, Slot, file_entries, verify


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "1"
    for slot, file in (("user_tower", "model.onnx"), ("ranker", "checkpoint.tl")):
        (folder / slot).mkdir(parents=True)
        (folder / slot / file).write_bytes(slot.encode() * 100)
    slots = {n: Slot(model=n, version=1, files=file_entries(folder / n)) for n in ("user_tower", "ranker")}
    manifest = Manifest(
        release=1, line=1, slots=slots, schema_hash="s", tower_digest="d", source="sample", as_of="2026-10-01",
        index=IndexFacts(kind="flat", items=1, dimension=128, candidates=1, recall=1.0, bytes_per_item=512),
        libraries={}, gates={}, metrics={},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    (folder / FILE).write_text(manifest.model_dump_json())
    return folder


def test_an_untouched_release_verifies(release: Path) -> None:
    assert verify(release).release == 1


def flip(release: Path) -> None:
    path = release / "ranker" / "checkpoint.tl"
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(bytes(content))


TAMPERING: list[tuple[Callable[[Path], object], str]] = [
    (flip, "ranker/checkpoint.tl differs"),
    (lambda r: (r / "ranker" / "checkpoint.tl").write_bytes(b"ranker"), "ranker/checkpoint.tl differs"),
    (lambda r: (r / "ranker" / "checkpoint.tl").unlink(), "ranker/checkpoint.tl is missing"),
    (lambda r: (r / "ranker" / "more.npy").write_bytes(b""), "ranker/more.npy is not in the manifest"),
    (lambda r: (r / "ranker" / "x.pkl").write_bytes(b""), "a release holds plain files"),
    (lambda r: (r / "ranker" / "x.onnx").symlink_to("/etc/hostname"), "a release holds plain files"),
    (lambda r: (r / "intruder").mkdir(), r"\['intruder'\] are not in the manifest"),
    (lambda r: (r / FILE).unlink(), "not a release"),
    (lambda r: (r / FILE).write_text("{"), "Invalid JSON"),
]


@pytest.mark.parametrize(("tamper", "message"), TAMPERING, ids=[m for _, m in TAMPERING])
def test_tampering_is_refused(release: Path, tamper: Callable[[Path], object], message: str) -> None:
    tamper(release)
    with pytest.raises(ManifestError, match=message):
        verify(release)
