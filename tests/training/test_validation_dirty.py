"""Every defect that is put into a data set is found as what it is, exactly as often; see `dirty`."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.settings import ROOT
from tests.ports import isolated_settings
from tests.training.dirty import compare
from training.adapters.ingest import ingest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
DATA = ROOT.parent / "shared" / "data"


@pytest.mark.parametrize(("source", "data"), [("sample", None), ("deskdrop", DATA / "deskdrop")])
def test_what_is_injected_is_counted(spark: "SparkSession", tmp_path: Path, source: str, data: Path | None) -> None:
    if data is not None and not data.is_dir():
        pytest.skip(f"{data} is not there")
    clean = isolated_settings(tmp_path / "clean", source=source, data=data)
    ingest(clean)
    outcome = compare(spark, clean, tmp_path / "dirty")
    assert len({(finding.table, finding.injected) for finding in outcome.findings}) > 20
    assert [finding for finding in outcome.findings if finding.difference] == []
    assert outcome.lost == 0
