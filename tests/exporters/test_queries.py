"""What a release is asked is kept with it; one that lacks it is named, and never taken up again."""

import json
from pathlib import Path

import numpy as np
import pytest

from deploy.settings import Settings
from exporters.errors import ManifestError
from exporters.publish import unpublished
from exporters.queries import Queries, read_queries, read_ranker_rows, write_queries, write_ranker_rows
from feature_repo.schema import SCHEMA
from tests.exporters.releases import digest_of, write_manifest, write_release
from tests.ports import isolated_settings
from training.lines import Line

AS_OF = "2026-10-01T00:00:00+00:00"


def test_what_was_kept_is_what_is_asked(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    asked = Queries(rng.random((4, 3), np.float32), rng.integers(9, size=(4, 5)), rng.integers(9, size=(4, 7)))
    write_queries(tmp_path, asked)
    for kept, array in zip(read_queries(tmp_path), asked, strict=True):
        np.testing.assert_array_equal(kept, array)
    write_ranker_rows(tmp_path, asked.users)
    np.testing.assert_array_equal(read_ranker_rows(tmp_path), asked.users)


def test_a_release_without_them_is_named_with_the_way_out(tmp_path: Path) -> None:
    for read in (read_queries, read_ranker_rows):
        with pytest.raises(ManifestError, match=r"golden_.*\.npy is missing: .* `python -m exporters publish` builds"):
            read(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Release 1 of line 1 and of the features as they are, built and not published."""
    settings = isolated_settings(tmp_path)
    settings.features.mkdir(parents=True)
    (settings.features / "splits.json").write_text(json.dumps({"schema": SCHEMA.hash, "as_of": AS_OF}))
    release = write_release(settings.releases)
    line = settings.lines / "1"
    line.mkdir(parents=True)
    for tower in ("user_tower", "item_tower"):
        (line / f"{tower}.onnx").write_bytes((release / tower / "model.onnx").read_bytes())
    write_ranker_rows(release / "ranker", np.zeros((2, 3), np.float32))
    write_manifest(release, source=settings.source, as_of=AS_OF)
    return settings


def test_a_release_that_was_only_built_is_taken_up(settings: Settings) -> None:
    line = Line(1, settings.lines / "1")
    assert line.tower_digest == digest_of(settings.releases / "1")
    assert unpublished(settings, line) == 1


def test_one_that_keeps_no_golden_rows_is_not(settings: Settings) -> None:
    release = settings.releases / "1"
    (release / "ranker" / "golden_rows.npy").unlink()
    write_manifest(release, source=settings.source, as_of=AS_OF)
    assert unpublished(settings, Line(1, settings.lines / "1")) is None


@pytest.mark.parametrize("change", [{"as_of": "2026-09-30T00:00:00+00:00"}, {"source": "another"}])
def test_one_of_other_features_is_not(settings: Settings, change: dict[str, str]) -> None:
    write_manifest(settings.releases / "1", **({"source": settings.source, "as_of": AS_OF} | change))
    assert unpublished(settings, Line(1, settings.lines / "1")) is None
