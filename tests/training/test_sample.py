"""The generated shop: reproducible, canonical, and learnable for any seed."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest

from deploy.settings import Settings
from tests.ports import isolated_settings
from training.adapters.canonical import EVENT_TYPES, SCHEMAS
from training.adapters.ingest import ingest
from training.adapters.source import read_source
from training.sample import generate
from training.sample.truth import Truth, load
from training.sample.world import AS_OF, DAYS

TEST_START = AS_OF - timedelta(days=7)
Scores = npt.NDArray[np.floating]


class Week:
    """The test week of one sample in indices: [users with events], their items, and the history before it."""

    def __init__(self, tables: Mapping[str, pa.Table], truth: Truth) -> None:
        events = tables["events"].to_pandas()
        events["user"] = np.searchsorted(truth.user_ids, events.user_id.to_numpy(str))
        events["item"] = np.searchsorted(truth.item_ids, events.item_id.to_numpy(str))
        self.truth = truth
        self.exists = truth.created_at <= TEST_START.timestamp()
        after = events[(events.timestamp >= TEST_START) & self.exists[events.item]]
        self.engaged = after.groupby("user").item.unique()
        self.before = events[events.timestamp < TEST_START]
        self.recent = self.before[self.before.timestamp >= TEST_START - timedelta(days=30)]

    def recall(self, scores: Scores, k: int = 100) -> float:
        """Mean over test users of hits in the top k / min(k, truth); `scores` is [all users, items]."""
        ranked = np.where(self.exists, scores[self.engaged.index], -np.inf)
        top = np.argpartition(-ranked, k, axis=1)[:, :k]
        hits = [len(np.intersect1d(t, items)) / min(k, len(items)) for t, items in zip(top, self.engaged, strict=True)]
        return float(np.mean(hits))

    def popularity(self) -> Scores:
        counts = np.bincount(self.recent.item, minlength=len(self.exists)).astype(float)
        return np.tile(counts, (len(self.truth.user_ids), 1))

    def affinity(self, codes: npt.NDArray[np.int64], prior: float) -> Scores:
        counts = np.zeros((len(self.truth.user_ids), int(codes.max()) + 1))
        np.add.at(counts, (self.before.user.to_numpy(), codes[self.before.item.to_numpy()]), 1)
        share: Scores = np.log(counts / (counts.sum(1, keepdims=True) + 1) + prior)
        return share[:, codes]

    def heuristic(self) -> Scores:
        """What category, brand and price affinity times popularity reach without any model."""
        truth = self.truth
        bands = np.searchsorted(np.quantile(truth.price_level, np.arange(1, 7) / 7), truth.price_level)
        tastes = self.affinity(truth.category, 0.03) + self.affinity(truth.brand, 0.06)
        return tastes + 0.7 * self.affinity(bands, 0.1) + 0.7 * np.log(self.popularity() + 2)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_taste_beats_popularity_and_can_be_learnt_from_history(seed: int) -> None:
    week = Week(*generate("default", seed))
    oracle = week.recall(week.truth.utility(TEST_START))
    popular, learnt = week.recall(week.popularity()), week.recall(week.heuristic())
    assert oracle >= 0.5
    assert popular <= 0.4 * oracle
    assert learnt >= 0.75 * oracle
    assert learnt >= 1.5 * popular


def test_order_of_shown_items_leaves_room_for_a_ranker() -> None:
    tables, truth = generate("default", 1)
    week = Week(tables, truth)
    clicks = week.recent[week.recent.event_type == "click"].item
    counts = np.bincount(clicks, minlength=len(truth.item_ids)).astype(float)
    shown = tables["impressions"].to_pandas()
    shown = shown[shown.timestamp >= TEST_START]
    user = np.searchsorted(truth.user_ids, shown.user_id.to_numpy(str))
    item = np.searchsorted(truth.item_ids, shown.item_id.to_numpy(str))
    grades = _grades(tables["events"].to_pandas(), shown).reshape(-1, 20)
    by_utility = _ndcg(truth.utility(AS_OF)[user, item].reshape(-1, 20), grades)
    assert by_utility >= 1.3 * _ndcg(counts[item].reshape(-1, 20), grades)


def _grades(events: pd.DataFrame, shown: pd.DataFrame) -> Scores:
    grade = events.event_type.map({"view": 1, "click": 1, "add_to_cart": 2, "favorite": 2, "purchase": 3})
    best = grade.groupby([events.request_id, events.item_id]).max()
    keys = pd.MultiIndex.from_frame(shown[["request_id", "item_id"]])
    return best.reindex(keys).fillna(0).to_numpy(float)


def _ndcg(scores: Scores, grades: Scores) -> float:
    """NDCG@10 with gain 2^grade − 1 over the groups that have a positive."""
    some = grades.max(1) > 0
    gain, discount = 2 ** grades[some] - 1, 1 / np.log2(np.arange(2, 12))
    ranked = np.take_along_axis(gain, np.argsort(-scores[some], axis=1, kind="stable"), axis=1)
    return float(np.mean((ranked[:, :10] @ discount) / (-np.sort(-gain, axis=1)[:, :10] @ discount)))


def test_same_seed_gives_the_same_tables_and_another_seed_others() -> None:
    first, again, other = generate("tiny", 5)[0], generate("tiny", 5)[0], generate("tiny", 6)[0]
    assert all(first[name].equals(again[name]) for name in SCHEMAS)
    assert not first["events"].equals(other["events"])


def test_tables_are_canonical_and_consistent() -> None:
    tables, _ = generate("tiny", 1)
    assert {name: table.schema for name, table in tables.items()} == SCHEMAS
    events, shown, items = (tables[name].to_pandas() for name in ("events", "impressions", "items"))
    assert set(events.event_type) == set(EVENT_TYPES)
    assert not events.duplicated(["user_id", "item_id", "event_type", "timestamp"]).any()
    assert events.timestamp.between(AS_OF - timedelta(days=DAYS), AS_OF, inclusive="left").all()
    created = items.set_index("item_id").created_at
    assert (created[shown.item_id].to_numpy() <= shown.timestamp.to_numpy()).all()
    assert (created[events.item_id].to_numpy() <= events.timestamp.to_numpy()).all()
    assert (events.request_id.isna() == (events.event_type == "view")).all()


def test_attributed_events_follow_an_impression_of_their_request() -> None:
    tables, _ = generate("tiny", 1)
    keys = ["request_id", "user_id", "item_id"]
    events = tables["events"].to_pandas().dropna(subset=["request_id"])
    joined = events.merge(tables["impressions"].to_pandas()[[*keys, "timestamp"]], on=keys, suffixes=("", "_shown"))
    assert len(joined) == len(events)
    assert (joined.timestamp > joined.timestamp_shown).all()


def test_higher_positions_are_clicked_more() -> None:
    tables, _ = generate("default", 1)
    keys = ["request_id", "item_id"]
    events = tables["events"].to_pandas()
    clicks = events[events.event_type == "click"].merge(tables["impressions"].to_pandas(), on=keys)
    by_position = clicks.groupby("position").size()
    assert by_position[1] > 2 * by_position[20]


def test_truth_is_kept_beside_the_raw_tables(settings: Settings) -> None:
    ingest(settings)
    truth = load(settings)
    early = truth.utility(AS_OF - timedelta(days=DAYS))
    assert early.shape == (300, 600)
    assert early.dtype == np.float32
    not_yet = truth.created_at > (AS_OF - timedelta(days=DAYS)).timestamp()
    assert np.isneginf(early[:, not_yet]).all()
    assert np.isfinite(truth.utility(AS_OF)).mean() > 0.9
    assert read_source(settings.raw).as_of == AS_OF


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return isolated_settings(tmp_path)
