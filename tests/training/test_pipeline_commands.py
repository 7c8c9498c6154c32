"""The commands as a person runs them: exit codes, one line for bad input, JSON last."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "TRIDENT_SIZE": "tiny", "TRIDENT_SPARK_MEMORY": "1g"}


def _run(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "training", *arguments],
        env=ENVIRONMENT | {"TRIDENT_HOME": str(home)} | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_sample_reports_its_rows_as_json(tmp_path: Path) -> None:
    done = _run(tmp_path, "sample", "--json", TRIDENT_SOURCE="movielens")
    assert done.returncode == 0
    document = orjson.loads(done.stdout.splitlines()[-1])
    assert (document["command"], document["users"], document["items"]) == ("sample", 300, 600)
    assert (tmp_path / "sample-tiny-1" / "raw" / "truth" / "utility.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "says"),
    [
        (["ingest"], {"TRIDENT_SOURCE": "movielens"}, 2, "TRIDENT_DATA"),
        (["ingest"], {"TRIDENT_SOURCE": "mystery"}, 2, "movielens"),
        (["ingest"], {"TRIDENT_SEDE": "1"}, 2, "TRIDENT_SEDE"),
        (["validate"], {}, 2, "training ingest"),
        (["features"], {}, 2, "training validate"),
        (["materialize"], {}, 1, "training features"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], code: int, says: str
) -> None:
    done = _run(tmp_path, *arguments, "--json", **environment)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr
    assert done.stdout == ""


@pytest.mark.spark
def test_low_quality_is_one_line_even_with_spark(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "events.csv").write_text("user_id,item_id,event_type,timestamp\nu1,i1,stare,2026-01-02\n")
    (data / "items.csv").write_text("item_id,category,created_at\ni1,books,2025-01-01\n")
    (data / "users.csv").write_text("user_id\nu1\n")
    environment = {"TRIDENT_SOURCE": "files", "TRIDENT_DATA": str(data)}
    assert _run(tmp_path, "ingest", **environment).returncode == 0
    done = _run(tmp_path, "validate", "--json", **environment)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "0 of 1 rows are clean" in done.stderr
