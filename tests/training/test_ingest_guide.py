"""The guide's example runs as printed, and a connector comes by a setting alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from deploy.settings import ROOT, load_settings
from tests.training.source_folder import EVENTS, ITEMS, USERS, write
from training.adapters.canonical import SCHEMAS
from training.adapters.ingest import ADAPTERS

GUIDE = (ROOT / "docs" / "bring-your-own-data.md").read_text()


def _bash(script: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRIDENT_")}
    environment |= {"HOME": str(home), "TRIDENT_HOME": str(home / "var"), "TRIDENT_SPARK_MEMORY": "1g"} | variables
    command = ["bash", "-euo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.spark
def test_the_example_runs_as_printed(tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL))
    done = _bash(script.replace(".venv/bin/python", "$PYTHON"), tmp_path, PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (raw,) = tmp_path.glob("var/files-*/raw")
    facts = orjson.loads((raw / "source.json").read_bytes())
    assert facts["rows"] == {"events": 18_000, "impressions": 0, "items": 100, "users": 200}
    report = orjson.loads((raw.parent / "tables" / "report.json").read_bytes())
    assert report["quality"] > 0.99


@pytest.mark.spark
def test_a_connector_comes_by_a_setting(tmp_path: Path) -> None:
    """Hadoop's viewfs: a scheme that means nothing before its mount table is set."""
    write(tmp_path / "shop", {"events.csv": EVENTS, "items.csv": ITEMS, "users.csv": USERS})
    done = _bash(
        f"{sys.executable} -m training ingest --json",
        tmp_path,
        TRIDENT_SOURCE="files",
        TRIDENT_DATA="viewfs://mounts/here",
        TRIDENT_SPARK_OPTIONS=f"spark.hadoop.fs.viewfs.mounttable.mounts.link./here=file://{tmp_path}/shop; ",
    )
    assert done.returncode == 0, done.stderr
    assert orjson.loads(done.stdout)["events"] == 2


def test_the_guide_names_every_column_and_every_source() -> None:
    for table, schema in SCHEMAS.items():
        row = next(line for line in GUIDE.splitlines() if line.startswith(f"| `{table}` |"))
        assert set(re.findall(r"[a-z_]+", row.split("|")[3])) == set(schema.names), table
    assert all(f"| `{name}` |" in GUIDE for name in ADAPTERS)


def test_a_url_stays_and_a_path_becomes_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, data, folder in (
        ("s3a://bucket/a//b", "s3a://bucket/a//b", None),
        ("file:///srv/shop", "file:///srv/shop", Path("/srv/shop")),
        ("/srv/../shop", "/shop", Path("/shop")),
    ):
        monkeypatch.setenv("TRIDENT_DATA", given)
        load_settings.cache_clear()
        assert (load_settings().data, load_settings().data_folder) == (data, folder)
    load_settings.cache_clear()
