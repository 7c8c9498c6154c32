"""What a restart loads: beside the release that carries traffic, only what fits under the same model names."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.settings import Settings
from exporters.manifest import FILE, IndexFacts, Manifest, Slot, file_entries
from exporters.publish import fitting
from feature_repo.schema import SCHEMA
from model_repository.traffic import ServedRelease
from tests.ports import isolated_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return isolated_settings(tmp_path)


def write_release(settings: Settings, candidates: int) -> ServedRelease:
    folder = settings.releases / "1"
    (folder / "ranker").mkdir(parents=True)
    (folder / "ranker" / "checkpoint.tl").write_bytes(b"trees")
    index = IndexFacts(kind="flat", items=1, dimension=128, candidates=candidates, recall=1.0, bytes_per_item=512)
    manifest = Manifest(
        release=1, line=1, slots={"ranker": Slot(model="ranker", version=1, files=file_entries(folder / "ranker"))},
        schema_hash=SCHEMA.hash, tower_digest="d", source="sample", as_of="2026-10-01", index=index, libraries={},
        gates={}, metrics={}, created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    (folder / FILE).write_text(manifest.model_dump_json())
    names = {name: (name, 1) for name in ("user_tower", "candidates", "recommend")}
    return ServedRelease.model_validate(
        {"release": 1, "line": 1, **names, "tower_digest": "d", "schema_hash": SCHEMA.hash, "ranked": candidates}
    )


def test_a_release_of_the_same_width_and_schema_fits(settings: Settings) -> None:
    manifest = fitting(settings, write_release(settings, 500), {500})
    assert manifest is not None
    assert manifest.release == 1


def test_another_width_does_not_fit(settings: Settings) -> None:
    assert fitting(settings, write_release(settings, 300), {500}) is None


def test_another_schema_does_not_fit(settings: Settings) -> None:
    release = write_release(settings, 500).model_copy(update={"schema_hash": "older"})
    assert fitting(settings, release, {500}) is None


def test_a_manifest_of_another_revision_does_not_fit(settings: Settings) -> None:
    release = write_release(settings, 500)
    path = settings.releases / "1" / FILE
    path.write_text(path.read_text().replace('"recall"', '"recall_at_500"'))
    assert fitting(settings, release, {500}) is None
