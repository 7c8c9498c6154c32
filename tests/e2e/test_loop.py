"""The log closes the loop on the running stack: serve → click → collect → ingest → an example with its label."""

import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.local.serve import Platform
from deploy.settings import Settings
from feature_repo.served import FIELD, IMPRESSIONS
from feature_repo.store import connect
from training.adapters.canonical import write_raw
from training.adapters.source import Source
from training.served.command import Stop, collect
from training.served.merge import Merge

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.e2e, pytest.mark.spark, pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]  # fmt: skip
REQUEST, SHOWN, CLICKED = "closed-loop", 12, 4
USER = 77  # of whom no other test asks


def serve_and_click(settings: Settings, api: httpx.Client, user: str) -> list[str]:
    """Ask for recommendations and click one of them; returns the items shown, in order, once they are logged."""
    asked = {"user_id": user, "num_items": SHOWN}
    answer = api.get("/recommend", params=asked, headers={"x-request-id": REQUEST}).json()
    shown = [str(item["item_id"]) for item in answer["items"]]
    click = {"event_id": "loop-1", "user_id": user, "item_id": shown[CLICKED], "event_type": "click",
             "request_id": REQUEST}  # fmt: skip
    assert api.post("/v1/events", json={"events": [click]}).status_code == 202
    with connect(settings) as client:
        ends = time.monotonic() + 10
        while not any(REQUEST.encode() in entry[FIELD] for _, entry in client.xrevrange(IMPRESSIONS, count=50)):
            assert time.monotonic() < ends, "the impression was not logged"
            time.sleep(0.05)
    return shown


@pytest.fixture
def retraining(settings: Settings, stack: Platform, tmp_path: Path) -> Settings:
    """A workspace of its own on the stack's Redis, with the encoded titles of the stack's."""
    own = settings.model_copy(update={"home": tmp_path})
    own.title_cache.parent.mkdir(parents=True)
    shutil.copytree(settings.title_cache, own.title_cache)
    return own


def catalogue(settings: Settings) -> dict[str, pa.Table]:
    """The stack's items and users, of whom nothing is dated: whatever the clock says, they are known."""
    tables = {name: pq.read_table(settings.raw / name) for name in ("items", "users")}
    dated = {"items": "created_at", "users": "signup_at"}
    return {
        name: table.set_column(table.schema.get_field_index(dated[name]), table.schema.field(dated[name]),
                               pa.nulls(table.num_rows, table.schema.field(dated[name]).type))
        for name, table in tables.items()
    }  # fmt: skip


def test_what_was_served_and_clicked_is_what_training_learns_from(
    spark: "SparkSession", settings: Settings, retraining: Settings, api: httpx.Client
) -> None:
    from training.pipeline.features import features
    from training.validation.validate import validate

    user = pq.read_table(settings.tables / "users")["user_id"][USER].as_py()
    shown = serve_and_click(settings, api, user)
    collect(retraining, once=True, everything=False, beat_s=1, stop=Stop())
    source = Source(name="sample", has_impressions=True, as_of=datetime.now(UTC) - timedelta(days=1))
    write_raw(retraining.raw, source, catalogue(settings), merge=Merge(folder=retraining.served))
    validate(spark, retraining, allow_low_quality=True)
    features(spark, retraining)
    rows = pd.read_parquet(retraining.features / "examples").query("request_id == @REQUEST").sort_values("position")
    assert rows.item_id.tolist() == shown
    assert rows.position.tolist() == list(range(1, SHOWN + 1))
    assert rows.clicked.tolist() == [int(n == CLICKED) for n in range(SHOWN)]
    assert set(rows.user_id) == {user}
