"""Drift end to end: a line with its reference, features folders that moved or did not, and what a person is told."""

import shutil
from datetime import timedelta
from pathlib import Path

import lightgbm as lgb
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from deploy.settings import Settings, load_settings
from feature_repo.schema import SCHEMA
from tests.training.small_line import AS_OF, ROWS, change, shown, write
from training.__main__ import app
from training.dataset import Dataset
from training.drift import examples, reference
from training.drift.compare import against
from training.drift.psi import independent
from training.drift.reference import columns_of
from training.drift.run import compare
from training.drift.text import readable
from training.errors import DataError
from training.lines import FOREST, REFERENCE
from training.models.forest import OBJECTIVES

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def made(small_line: Settings) -> Settings:
    return small_line


@pytest.fixture
def own(made: Settings, tmp_path: Path) -> Settings:
    """A copy that a test may damage."""
    shutil.copytree(made.home, tmp_path / "home", ignore=shutil.ignore_patterns("drift"))
    return made.model_copy(update={"home": tmp_path / "home"})


def drift(settings: Settings, **asked: object) -> dict[str, object]:
    return compare(settings, **({"number": 1, "current": "latest", "split": None, "days": None, "plot": None} | asked))


def test_the_same_data_is_stable_and_nothing_is_left_out(made: Settings) -> None:
    document = drift(made)
    assert document["status"] == "stable"
    assert set(document["features"]) == set(SCHEMA.ranker_names)
    assert set(document["scores"]) == set(OBJECTIVES)
    assert document["reference"] == {"line": 1, "rows": ROWS, "examples": ROWS}
    test_rows = pq.read_table(made.features / "examples")["split"].to_pylist().count("test")
    assert document["rows"] == test_rows


def test_the_data_of_the_refit_itself_is_at_zero(made: Settings) -> None:
    dataset, line = Dataset(made.features), made.lines / "1"
    columns = columns_of(dataset, dataset.examples(*examples.EVERY), line)
    assert max(drift.psi for drift in against(reference.read(line), columns)) == 0.0


def test_what_moved_is_named_first_and_moves_the_score_that_reads_it(own: Settings) -> None:
    prices = pq.read_table(own.features / "item_snapshots")["item_price"].to_numpy()
    change(own.features, "item_snapshots", "item_price", pa.array(prices * 3, pa.float32()))
    document = drift(own)
    assert document["worst"]["name"] in ("item_price", "relevance", "cross_price_ratio", "cross_price_above_max")
    assert document["status"] == document["features"]["item_price"]["status"] == "drifted"
    assert document["scores"]["relevance"]["status"] == "drifted"
    assert document["scores"]["ctr"]["status"] == document["features"]["user_age"]["status"] == "stable"
    values = [column["psi"] for column in document["features"].values()]
    assert values == sorted(values, reverse=True)
    assert document["drifted"] == sum(
        column["status"] == "drifted" for part in ("features", "scores") for column in document[part].values()
    )


def test_an_embedding_space_or_a_feature_that_died_shows(own: Settings) -> None:
    rows = pq.read_table(own.features / "user_snapshots").num_rows
    change(own.features, "user_snapshots", "user_age", pa.array([None] * rows, pa.float32()))
    assert drift(own)["features"]["user_age"]["status"] == "drifted"  # the default takes the place of every value


def test_scores_are_what_serving_answers_at_position_zero(made: Settings) -> None:
    dataset, line = Dataset(made.features), made.lines / "1"
    columns = columns_of(dataset, dataset.examples("test"), line)
    assert columns.features["context_position"].max() == 9
    matrix = np.stack([columns.features[name] for name in SCHEMA.ranker_names], axis=1)
    matrix[:, SCHEMA.ranker_names.index("context_position")] = 0
    served = lgb.Booster(model_file=str(line / FOREST)).predict(matrix).astype(np.float32)
    assert np.array_equal(np.stack([columns.scores[name] for name in OBJECTIVES], axis=1), served)


def test_the_document_the_metrics_and_the_picture_are_on_disk(made: Settings, tmp_path: Path) -> None:
    document = drift(made, plot=tmp_path / "out")
    stored = orjson.loads((made.workspace / "drift" / "drift.json").read_bytes())
    assert stored["features"] == document["features"]
    metrics = (made.workspace / "drift" / "drift.prom").read_text()
    assert metrics.count("\ntrident_drift_psi{") == len(SCHEMA.ranker_names) + len(OBJECTIVES)
    assert 'trident_drift_psi{kind="score",name="ctr"}' in metrics
    assert f"trident_drift_rows {float(document['rows'])}" in metrics
    assert (tmp_path / "out" / "drift.png").read_bytes().startswith(b"\x89PNG")
    assert document["plot"] == str(tmp_path / "out" / "drift.png")


def test_days_are_those_whose_snapshots_served(made: Settings) -> None:
    served = pq.read_table(made.features / "examples")["user_snapshot"].to_pylist()
    assert drift(made, days=4)["rows"] == sum(at >= AS_OF - timedelta(days=4) for at in served)
    assert drift(made, days=365)["rows"] == ROWS


@pytest.mark.parametrize("named", ["path", "workspace", "name"])
def test_another_workspace_can_be_current(own: Settings, named: str) -> None:
    other = own.home / "other"
    shutil.move(own.features, other / "features")
    current = {"path": str(other / "features"), "workspace": str(other), "name": "other"}[named]
    assert drift(own, current=current)["current"]["folder"] == str(other / "features")


def test_codes_that_mean_other_things_are_said(own: Settings) -> None:
    assert drift(own)["current"]["vocabulary"] == "same"
    (own.features / "vocabulary.json").write_text('{"categories": ["books"]}')
    assert drift(own)["current"]["vocabulary"] == "other"


def test_a_sample_is_bounded_seeded_and_of_whole_rows(made: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "SAMPLE", 500)
    every = Dataset(made.features).examples(*examples.EVERY)
    first, again, other = (examples.sample(every, seed) for seed in (1, 1, 2))
    assert len(first) == 500
    assert np.array_equal(first.items, again.items)
    assert not np.array_equal(first.items, other.items)
    rows = {(r, p, i) for r, p, i in zip(every.request, every.position, every.items, strict=True)}
    assert {(r, p, i) for r, p, i in zip(first.request, first.position, first.items, strict=True)} <= rows


def test_rows_of_one_user_are_not_independent() -> None:
    assert independent(np.arange(50)) == 50.0
    assert independent(np.repeat(np.arange(5), 10)) == 5.0
    assert independent(np.array([0, 0, 0, 1])) == pytest.approx(1.6)


def few(own: Settings) -> None:
    write(own.features / "examples", shown(np.random.default_rng(2), 600))


def none(own: Settings) -> None:
    table = pq.read_table(own.features / "examples")
    write(own.features / "examples", table.filter(pa.compute.not_equal(table["split"], "test")))


def other_schema(own: Settings) -> None:
    _edit(own.lines / "1" / REFERENCE, schema="0123456789abcdef")


def other_features(own: Settings) -> None:
    _edit(own.features / "splits.json", schema="0123456789abcdef")


def small_reference(own: Settings) -> None:
    _edit(own.lines / "1" / REFERENCE, rows=900)


def _edit(path: Path, **changes: object) -> None:
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | changes))


@pytest.mark.parametrize(
    ("damage", "asked", "says"),
    [
        (few, {}, r"holds \d+ rows; beside a reference of 6000 at least 1273 are needed"),
        (none, {}, "no examples in the test window"),
        (other_schema, {}, "a line of schema 0123456789abcdef, this code has"),
        (other_features, {}, "features of schema 0123456789abcdef, this code has"),
        (small_reference, {}, "the reference holds 900 rows, too few"),
        (lambda own: (own.lines / "1" / REFERENCE).unlink(), {}, "trained without a reference"),
        (lambda own: (own.lines / "1" / REFERENCE).write_text('{"schema": '), {}, "not a reference this code wrote"),
        (lambda own: None, {"number": 7}, "no line 7, the newest is 1"),
        (lambda own: None, {"current": "nowhere"}, "nowhere: neither a features folder nor a workspace"),
        (lambda own: None, {"split": "train", "days": 3.0}, "--split train and --days 3 are two windows"),
        (lambda own: None, {"days": 0.0}, "--days 0: a window of that length holds nothing"),
        (lambda own: None, {"plot": Path(__file__)}, "--plot .*: not a folder"),
    ],
)
def test_what_cannot_be_compared_is_one_clear_line(own: Settings, damage, asked, says: str) -> None:  # type: ignore[no-untyped-def]
    damage(own)
    with pytest.raises(DataError, match=says) as caught:
        drift(own, **asked)
    assert "\n" not in str(caught.value)
    assert not (own.workspace / "drift").exists()


def dearer(own: Settings) -> None:
    rows = pq.read_table(own.features / "item_snapshots").num_rows
    change(own.features, "item_snapshots", "item_price", pa.array([1e6] * rows, pa.float32()))


@pytest.mark.parametrize(("damage", "code"), [(lambda own: None, 0), (dearer, 3), (few, 2)])
def test_exit_codes(own: Settings, monkeypatch: pytest.MonkeyPatch, damage, code: int) -> None:  # type: ignore[no-untyped-def]
    damage(own)
    monkeypatch.setenv("TRIDENT_HOME", str(own.home))
    monkeypatch.setenv("TRIDENT_SIZE", own.size)
    load_settings.cache_clear()
    done = CliRunner().invoke(app, ["drift", "--reference", "1", "--json"])
    load_settings.cache_clear()
    assert done.exit_code == code, done.output
    if code == 2:
        assert (len(done.stderr.splitlines()), done.stdout) == (1, "")
    else:
        assert orjson.loads(done.stdout.splitlines()[-1])["status"] == ("drifted" if code else "stable")


def test_a_person_reads_the_worst_columns_and_the_verdict(own: Settings) -> None:
    dearer(own)
    said = readable(drift(own)).splitlines()
    assert said[1].split()[-1] == "drifted"
    assert any(line.startswith("cvr ") for line in said)
    assert said[-1].startswith("drifted: ")
