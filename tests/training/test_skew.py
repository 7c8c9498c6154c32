"""Skew on requests served as an orchestrator serves them: none where all is well, and each injected one by its name."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from deploy.settings import Settings, load_settings
from feature_repo.context import RequestContext, context_array
from feature_repo.recent import Action, merged
from feature_repo.rows import UserRow, pack_user_row, unpack_user_row
from feature_repo.schema import SCHEMA
from feature_repo.served import EVENT_TYPES, EVENTS, FIELD, IMPRESSIONS
from feature_repo.vectors import Floats, cold_user, history_entry, item_key
from tests.training.served_log import event, impression, inputs
from tests.training.small_line import DAYS, ITEMS, MOMENT, change
from training.__main__ import app
from training.dataset import Dataset
from training.errors import DataError
from training.lines import ASSEMBLE, FOREST, ITEM_TOWER, USER_TOWER
from training.models.session import run, session
from training.served import parts
from training.served.entries import parse
from training.skew.run import skew

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

LAST = DAYS[-1]  # the newest snapshot became available then
COMPUTED = LAST - timedelta(hours=1)
NOW = LAST + timedelta(hours=9, minutes=17, seconds=3)
SHOWN = ITEMS[3:7]
Row = dict[str, Any]


@dataclass
class Serving:
    """An orchestrator that answers from the offline store of a workspace, and logs."""

    settings: Settings
    dataset: Dataset
    numbers: list[int] = field(default_factory=lambda: [0])

    def user(self, user: str, at: datetime = LAST) -> UserRow:
        """The user's packed row of a snapshot."""
        (place,) = self.dataset.users.find(np.array([user], object), np.array([at.replace(tzinfo=None)], "M8[us]"))
        row = UserRow(
            values=self.dataset.users.rows[place],
            history=self.dataset.histories[place],
            computed_at=int((at - timedelta(hours=1)).timestamp()),
        )
        return unpack_user_row(pack_user_row(row))

    def score(self, row: UserRow, context: Floats) -> list[list[float]]:
        """Scores of what is shown, in the shapes of a request."""
        line = self.settings.lines / "1"
        at = np.full(len(SHOWN), LAST.replace(tzinfo=None), "datetime64[us]")
        items = self.dataset.items.find(np.array(SHOWN, object), at)
        content = self.dataset.content_of(items)
        user = run(session(line / USER_TOWER), {"user_features": row.values[None]})
        tower = {"item_features": self.dataset.items.rows[items], "item_content": content}
        given = {
            "user_features": row.values[None], "user_history": row.history[None], "context_features": context[None],
            "item_key": np.array([[item_key(item) for item in SHOWN]]),
            "similarity": user @ run(session(line / ITEM_TOWER), tower).T,
            "item_features": self.dataset.items.rows[items][None],
        }  # fmt: skip
        matrix = run(session(line / ASSEMBLE), given)
        return np.asarray(lgb.Booster(model_file=str(line / FOREST)).predict(matrix), np.float32).tolist()

    def answer(self, user: str, row: UserRow, at: datetime = NOW, *, said: Row | None = None, **more: Any) -> Row:
        """The log entry of an answer that was given this row."""
        said = {"device": "tv", "os": "ios", "country": None, "language": None, "time_zone": "Asia/Kathmandu",
                "referrer": "ads", "placement": "cart", "session_id": None} | (said or {})  # fmt: skip
        context = more.pop("context", None)
        if context is None:
            context = self.context(row, at, said)
        raw = inputs(row.values, row.history, context, more.pop("scores", self.score(row, context)))
        digest = hashlib.blake2b(row.values.tobytes() + row.history.tobytes() + context.tobytes(), digest_size=8)
        return impression("r", user, SHOWN, at, inputs=raw, features=digest.hexdigest(), **said) | more

    def context(self, row: UserRow, at: datetime, said: Row, depth: int = 0) -> Floats:
        """What the request says of itself; who does not say is at home."""
        words = {"device": said["device"], "system": said["os"], "country": said["country"],
                 "language": said["language"], "time_zone": said["time_zone"], "referrer": said["referrer"],
                 "placement": said["placement"]}  # fmt: skip
        context = context_array(RequestContext(at=at, session_depth=depth, **words))
        for name in ("country", "language"):
            if said[name] is None:
                context[SCHEMA.offset(f"context_{name}")] = row.values[SCHEMA.offset(f"user_{name}")]
        return context

    def log(self, stream: str, *entries: Row) -> None:
        """Collect the entries."""
        for entry in entries:
            self.numbers[0] += 1
            content = orjson.dumps(entry | {"instance": "a", "seq": self.numbers[0]})
            arrived = f"{int(entry['at'] * 1000)}-0"
            parsed = parse(stream, arrived, {FIELD: content})
            assert parsed.flaw is None
            for table, rows in parsed.rows.items():
                name = parts.part_name(self.numbers[0], arrived, arrived, "parquet")
                parts.write_part(self.settings.served, table, parsed.day, name, rows)

    def skew(self, **asked: Any) -> Row:
        """What the command says."""
        usual = {"days": 7, "release": None, "line": None, "fail_above": None, "plot": None}
        return skew(self.settings, **usual | asked)


@pytest.fixture(scope="module")
def made(small_line: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A line, its release's manifest, and snapshots with histories."""
    settings = small_line.model_copy(update={"home": tmp_path_factory.mktemp("skew")})
    shutil.copytree(small_line.home, settings.home, dirs_exist_ok=True)
    path = settings.features / "user_snapshots/part-0.parquet"
    table = pq.read_table(path)
    computed = pa.array([at - timedelta(hours=1) for at in table["event_timestamp"].to_pylist()], MOMENT)
    pq.write_table(table.append_column("created_timestamp", computed), path)
    histories = [[history_entry(item_key(ITEMS[n % 9]), 1)] for n in range(table.num_rows)]
    change(settings.features, "user_snapshots", "user_history", pa.array(histories, pa.list_(pa.int64())))
    (settings.releases / "1").mkdir(parents=True)
    manifest = {"line": 1, "as_of": LAST.isoformat(), "schema_hash": SCHEMA.hash}
    (settings.releases / "1/manifest.json").write_bytes(orjson.dumps(manifest))
    return settings


@pytest.fixture(scope="module")
def dataset(made: Settings) -> Dataset:
    return Dataset(made.features)


@pytest.fixture
def serving(made: Settings, dataset: Dataset, tmp_path: Path) -> Serving:
    """A workspace with the same models, and a log of its own."""
    own = made.model_copy(update={"home": tmp_path})
    own.workspace.mkdir(parents=True)
    for folder in (made.features, made.lines, made.releases):
        (own.workspace / folder.name).symlink_to(folder)
    return Serving(own, dataset)


def shifted(row: UserRow, feature: str, by: float) -> UserRow:
    values = row.values.copy()
    values[SCHEMA.columns(feature)] += by
    return replace(row, values=values)


def test_served_from_the_offline_store_nothing_differs(serving: Serving) -> None:
    serving.log(IMPRESSIONS, *(serving.answer(f"u{n}", serving.user(f"u{n}")) for n in range(5)))
    document = serving.skew(fail_above=0.0)
    assert (document["status"], document["skewed"], document["broken"]) == ("none", [], {})
    assert {one["rows"] for one in document["features"].values()} == {5}
    assert {one["rows"] for one in document["scores"].values()} == {5 * len(SHOWN)}
    compared = set(document["features"]) | set(document["not_compared"])
    assert compared == {f.name for f in SCHEMA.features if f.group != "content"}


@pytest.mark.parametrize("feature", ["user_age", "user_ctr_7d", "user_price_affinity"])
def test_one_shifted_feature_is_found_and_named(serving: Serving, feature: str) -> None:
    right, wrong = serving.user("u1"), shifted(serving.user("u2"), feature, 2.5)
    serving.log(IMPRESSIONS, serving.answer("u1", right), serving.answer("u2", wrong))
    document = serving.skew(fail_above=0.49)
    assert document["skewed"] == [feature]
    found = document["features"][feature]
    assert (found["rows"], found["differing"], found["share"]) == (2, 1, 0.5)
    assert found["largest"] == pytest.approx(2.5, rel=1e-3)
    assert document["status"] == "failed"
    assert serving.skew(fail_above=0.5)["status"] == "skewed"


def test_a_feature_that_is_no_number_differs(serving: Serving) -> None:
    wrong = shifted(serving.user("u1"), "user_age", float("nan"))
    serving.log(IMPRESSIONS, serving.answer("u1", wrong))
    document = serving.skew()
    assert document["features"]["user_age"]["differing"] == 1
    assert document["features"]["user_age"]["largest"] == float("inf")


@pytest.mark.parametrize(
    ("word", "value", "features"),
    [
        ("device", "mobile", ["context_device"]),
        ("country", "FR", ["context_country"]),
        ("time_zone", "UTC", ["context_local_hour_cos", "context_local_hour_sin", "context_utc_offset"]),
        ("referrer", None, ["context_referrer"]),
    ],
)
def test_a_word_that_serving_understood_otherwise_is_named(
    serving: Serving, word: str, value: str | None, features: list[str]
) -> None:
    row = serving.user("u1")
    said = {"device": "tv", "os": "ios", "country": None, "language": None, "time_zone": "Asia/Kathmandu",
            "referrer": "ads", "placement": "cart", "session_id": None}  # fmt: skip
    context = serving.context(row, NOW, said | {word: value})
    serving.log(IMPRESSIONS, serving.answer("u1", row, context=context))
    assert sorted(serving.skew()["skewed"]) == features


def test_words_that_the_log_does_not_hold_are_not_compared(serving: Serving) -> None:
    row = serving.user("u1")
    entry = serving.answer("u1", row)
    for word in ("os", "time_zone", "session_id"):
        del entry[word]
    serving.log(IMPRESSIONS, entry)
    document = serving.skew()
    assert document["skewed"] == []
    assert set(document["words_not_logged"]) == {
        "context_system", "context_utc_offset", "context_local_hour_sin", "context_local_hour_cos",
        "context_session_depth",
    }  # fmt: skip
    assert document["features"]["context_system"]["rows"] == 0


def test_a_wrong_score_is_found_and_scores_of_wrong_inputs_are_not_blamed(serving: Serving) -> None:
    row = serving.user("u1")
    scores = serving.score(row, serving.context(row, NOW, {**serving.answer("u1", row)}))
    scores[2][1] += 0.01
    serving.log(IMPRESSIONS, serving.answer("u1", row, scores=scores))
    document = serving.skew()
    assert document["skewed"] == ["ctr"]
    assert (document["scores"]["ctr"]["differing"], document["scores"]["ctr"]["rows"]) == (1, len(SHOWN))
    assert document["scores"]["ctr"]["largest"] == pytest.approx(0.01, abs=1e-6)


def test_an_earlier_snapshot_is_told_apart_from_a_wrong_one(serving: Serving) -> None:
    serving.log(IMPRESSIONS, serving.answer("u1", serving.user("u1", DAYS[-2])))
    users = serving.skew()["users"]
    assert (users["stale"], users["compared"]) == (1, 1)


def test_the_snapshot_is_the_one_of_the_moment_however_new_the_features_are(serving: Serving) -> None:
    before = DAYS[5] + timedelta(hours=3)
    serving.log(IMPRESSIONS, serving.answer("u1", serving.user("u1", DAYS[5]), before))
    assert serving.skew()["skewed"] == []


def acted(at: datetime, item: str, kind: str) -> tuple[Row, Action]:
    action = Action(int(at.timestamp() * 1e6), item_key(item), 0, EVENT_TYPES.index(kind))
    return event(f"{at} {kind}", "u1", item, kind, at, session_id="s"), action


def test_what_the_user_did_since_belongs_to_the_history_and_the_session(serving: Serving) -> None:
    deeds = [acted(NOW - timedelta(minutes=n), item, kind)
             for n, (item, kind) in enumerate([("i1", "click"), ("i2", "view"), ("i1", "purchase")], 1)]  # fmt: skip
    row = serving.user("u1")
    now = replace(row, history=merged(row.history, [a for _, a in deeds], row.computed_at * 1_000_000))
    assert not np.array_equal(now.history, row.history)
    said = {"device": "tv", "os": "ios", "country": None, "language": None, "time_zone": "Asia/Kathmandu",
            "referrer": "ads", "placement": "cart", "session_id": "s"}  # fmt: skip
    serving.log(IMPRESSIONS, serving.answer("u1", now, said=said, context=serving.context(now, NOW, said, depth=3)))
    serving.log(EVENTS, *(entry for entry, _ in deeds))
    serving.log(EVENTS, event("late", "u1", "i5", "click", NOW - timedelta(minutes=1), session_id="s")
                | {"received_at": (NOW + timedelta(minutes=1)).timestamp()})  # fmt: skip
    document = serving.skew()
    assert document["skewed"] == []
    assert document["users"]["acted_since_snapshot"] == 1
    serving.log(IMPRESSIONS, serving.answer("u1", row, said=said, context=serving.context(row, NOW, said, depth=2)))
    found = serving.skew()
    assert sorted(found["skewed"]) == ["context_session_depth", "user_history"]
    assert found["features"]["user_history"]["share"] == 0.5


def test_users_that_nobody_knew_and_users_without_a_snapshot_are_counted(serving: Serving) -> None:
    nobody = UserRow(values=cold_user(None), history=np.zeros_like(serving.user("u1").history))
    long_ago = DAYS[0] - timedelta(days=1)
    serving.log(
        IMPRESSIONS,
        serving.answer("stranger", nobody, features_from="cold"),
        serving.answer("u1", serving.user("u1", DAYS[0]), long_ago),
    )
    document = serving.skew(days=90)
    users = document["users"]
    assert (users["cold"], users["without_snapshot"], users["compared"]) == (1, 1, 0)
    assert document["features"]["user_age"]["rows"] == 0
    assert document["features"]["context_device"]["rows"] == 2


Damage = Callable[[Row], Row]
BROKEN: Sequence[tuple[str, Damage]] = [
    ("other_schema", lambda entry: entry | {"inputs": entry["inputs"] | {"schema": "another"}}),
    ("wrong_size", lambda entry: entry | {"inputs": entry["inputs"] | {"user": "AAAA"}}),
    ("wrong_hash", lambda entry: entry | {"features": "0" * 16}),
]


def test_inputs_that_are_not_what_was_hashed_are_counted_not_compared(serving: Serving) -> None:
    entry = serving.answer("u1", serving.user("u1"))
    serving.log(IMPRESSIONS, *(damage(entry) for _, damage in BROKEN))
    with pytest.raises(DataError, match="no request to compare"):
        serving.skew()
    serving.log(IMPRESSIONS, entry)
    document = serving.skew()
    assert document["broken"] == {reason: 1 for reason, _ in BROKEN}
    assert (document["requests"], document["skewed"]) == (1, [])


def test_what_cannot_be_scored_again_says_why(serving: Serving) -> None:
    row = serving.user("u1")
    serving.log(
        IMPRESSIONS,
        serving.answer("u1", row, model_version="9"),
        serving.answer("u1", row, scores=None, level="L2"),
        serving.answer("u1", row),
    )
    document = serving.skew()
    assert document["scored"] == {"requests": 1, "items": len(SHOWN), "left_out": {"no_release": 1, "unranked": 1}}


def test_releases_and_lines_are_chosen(serving: Serving) -> None:
    row, wrong = serving.user("u1"), shifted(serving.user("u1"), "user_age", 1)
    serving.log(IMPRESSIONS, serving.answer("u1", row), serving.answer("u1", wrong, model_version="2"))
    assert serving.skew()["skewed"] == ["user_age"]
    assert serving.skew(release=1)["skewed"] == serving.skew(line=1)["skewed"] == []
    assert serving.skew(release=2)["skewed"] == ["user_age"]
    for asked in ({"release": 3}, {"line": 2}, {"release": 1, "line": 1}):
        with pytest.raises(DataError):
            serving.skew(**asked)


def test_without_a_sample_one_line_says_what_to_do(serving: Serving) -> None:
    with pytest.raises(DataError, match="no sampled requests; serve some and run `python -m training collect`"):
        serving.skew()


def test_the_command_its_table_its_files_and_its_exit_code(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = shifted(serving.user("u2"), "user_age", 2.0)
    serving.log(IMPRESSIONS, serving.answer("u1", serving.user("u1")), serving.answer("u2", wrong))
    monkeypatch.setenv("TRIDENT_HOME", str(tmp_path))
    monkeypatch.setenv("TRIDENT_SIZE", "tiny")
    load_settings.cache_clear()
    try:
        said = CliRunner().invoke(app, ["skew", "--fail-above", "0.1", "--plot", str(tmp_path / "out")])
        json = CliRunner().invoke(app, ["skew", "--json"])
    finally:
        load_settings.cache_clear()
    assert (said.exit_code, json.exit_code) == (3, 0)
    assert "user_age" in said.output
    assert "failed: 1 of" in said.output
    assert (tmp_path / "out/skew.png").stat().st_size > 10_000
    assert orjson.loads(json.output.splitlines()[-1])["skewed"] == ["user_age"]
    figures = (serving.settings.workspace / "skew/skew.prom").read_text()
    assert 'trident_skew_share{name="user_age"} 0.5' in figures
    assert 'trident_skew_share{name="ctr"} 0.0' in figures
