"""The pipeline is the same on a real standalone master with two workers: only `TRIDENT_SPARK_MASTER` differs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from deploy.settings import ROOT, Settings, child_environment
from tests.ports import isolated_settings
from tests.spark_cluster import spark_cluster
from training.adapters.ingest import ingest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
LOOPBACK = "spark.driver.host=127.0.0.1;spark.driver.bindAddress=127.0.0.1;spark.executor.memory=700m"
KEYS = {
    "tables/events": ["event_id"],
    "features/user_snapshots": ["user_id", "event_timestamp"],
    "features/item_snapshots": ["item_id", "event_timestamp"],
    "features/examples": ["request_id", "item_id"],
    "features/pairs": ["user_id", "item_id", "timestamp"],
}


@pytest.fixture(scope="module")
def workspaces(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Settings]:
    """The same sample through a local session and through the cluster."""
    from training.pipeline.features import features
    from training.validation.validate import validate

    local = isolated_settings(tmp_path_factory.mktemp("local"))
    ingest(local)
    validate(spark, local)
    features(spark, local)
    folder = tmp_path_factory.mktemp("cluster")
    remote = isolated_settings(folder)
    ingest(remote)
    with spark_cluster(folder) as cluster:
        remote = remote.model_copy(
            update={"spark_master": cluster.url, "spark_options": LOOPBACK, "spark_memory": "1g"}
        )
        done = subprocess.run(
            [sys.executable, "-m", "training", "pipeline", "--json"],
            cwd=ROOT, env=child_environment(remote), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["quality"] == 1.0
        assert cluster.workers_used == ["worker-0", "worker-1"]
    return local, remote


@pytest.mark.parametrize("name", KEYS)
def test_every_table_is_the_same(workspaces: tuple[Settings, Settings], name: str) -> None:
    one, other = (_read(settings.workspace / name, KEYS[name]) for settings in workspaces)
    assert len(one) > 100
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def _read(folder: Path, keys: list[str]) -> pd.DataFrame:
    table = pd.read_parquet(folder).sort_values(keys, ignore_index=True)
    for name in table.select_dtypes(object):
        table[name] = [tuple(value) if isinstance(value, np.ndarray) else value for value in table[name]]
    return table
