"""A line small enough to make in seconds: snapshots of random values, untrained towers, a forest, a reference."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lightgbm as lgb
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import save_model

from deploy.settings import Settings
from feature_repo.schema import SCHEMA, Feature, Group
from feature_repo.vectors import Floats, item_key
from training.content import basis
from training.dataset import Dataset
from training.drift import examples
from training.drift.reference import store_reference
from training.lines import FACTS, FOREST, WEIGHTS, Line, write_json
from training.matrices import Graphs, export_assembler, export_towers
from training.models.forest import Member, merge
from training.models.towers import TwoTower

AS_OF = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = [AS_OF + timedelta(days=day, hours=1) for day in range(-14, 0)]  # two weeks, or weekdays would move
SPLITS = ["train"] * 4 + ["validation"] * 3 + ["test"] * 7
USERS, ITEMS, ROWS = [f"u{n}" for n in range(300)], [f"i{n}" for n in range(300)], 6000
IDS: Mapping[Group, list[str]] = {"user": USERS, "item": ITEMS, "content": ITEMS}
MOMENT = pa.timestamp("us", tz="UTC")


def values(feature: Feature, n: int, rng: np.random.Generator) -> Floats:
    if feature.kind == "code":
        return rng.integers(0, min(feature.cardinality, 6), n).astype(np.float32)
    return rng.gamma(1.0, 3.0, (n, feature.width) if feature.width > 1 else n).astype(np.float32)


def snapshots(folder: Path, name: str, group: Group, days: list[datetime], rng: np.random.Generator) -> None:
    rows = len(IDS[group]) * len(days)
    columns = {f.name: pa.array(values(f, rows, rng).tolist(), _type(f)) for f in SCHEMA.group(group)}
    key = "user_id" if group == "user" else "item_id"
    known = {key: IDS[group] * len(days), "event_timestamp": np.repeat(np.array(days, object), len(IDS[group]))}
    extra = {"user": {"user_history": pa.array([[]] * rows, pa.list_(pa.int64()))}, "item": {},
             "content": {"item_key": [item_key(item) for item in ITEMS]}}[group]  # fmt: skip
    write(folder / name, pa.table({**known, **extra, **columns}))


def _type(feature: Feature) -> pa.DataType:
    return pa.list_(pa.float32()) if feature.width > 1 else pa.float32()


def shown(rng: np.random.Generator, rows: int = ROWS) -> pa.Table:
    """Lists of ten, each of one user on one day; the first item of each is clicked."""
    lists = np.arange(rows) // 10
    day = rng.integers(0, len(DAYS), rows // 10)[lists]
    at = np.array(DAYS, object)[day]
    position = np.arange(rows) % 10
    return pa.table({
        "request_id": [f"r{n}" for n in lists], "user_id": np.array(USERS)[rng.integers(0, 300, rows // 10)[lists]],
        "item_id": np.array(ITEMS)[rng.integers(0, 300, rows)], "position": position,
        "timestamp": pa.array(at + timedelta(hours=3), MOMENT), "split": np.array(SPLITS)[day],
        **{name: pa.array([None] * rows, pa.string())
           for name in ("os", "language", "time_zone", "referrer", "placement")},
        "device": np.array(["mobile", "desktop"])[rng.integers(0, 2, rows)], "country": ["DE"] * rows,
        "session_depth": rng.integers(0, 9, rows), "grade": (position == 0) * 1, "clicked": (position == 0) * 1,
        "purchased": (position == 0) * 1, "sampling_rate": np.ones(rows),
        "user_snapshot": pa.array(at, MOMENT), "item_snapshot": pa.array(at, MOMENT),
    })  # fmt: skip


def write(path: Path, table: pa.Table) -> None:
    path.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path / "part-0.parquet")


def change(folder: Path, table: str, name: str, column: pa.Array) -> None:
    path = folder / table / "part-0.parquet"
    content = pq.read_table(path)
    pq.write_table(content.set_column(content.column_names.index(name), name, column), path)


def write_features(folder: Path) -> None:
    rng = np.random.default_rng(1)
    snapshots(folder, "user_snapshots", "user", DAYS, rng)
    snapshots(folder, "item_snapshots", "item", DAYS, rng)
    snapshots(folder, "item_content", "content", [DAYS[0]], rng)
    write(folder / "examples", shown(rng))
    (folder / "vocabulary.json").write_text("{}")
    nothing = np.zeros((0, 1), np.float32)
    basis.save(folder, text=basis.fit(nothing, 1), image=basis.fit(nothing, 1))
    bounds = {"as_of": AS_OF, "test_start": DAYS[7], "validation_start": DAYS[4], "train_start": DAYS[0]}
    facts = {"schema": SCHEMA.hash, "as_of": AS_OF, "boundaries": bounds}
    (folder / "splits.json").write_bytes(orjson.dumps(facts))


def write_line(settings: Settings) -> Line:
    """Untrained towers, a forest that looks at the price, the age and the position, a reference."""
    line = Line(1, settings.lines / "1")
    line.folder.mkdir(parents=True)
    dataset = Dataset(settings.features)
    save_model(TwoTower().eval(), str(line.folder / WEIGHTS))
    export_towers(TwoTower().eval(), line.folder)
    export_assembler(line.folder)
    rows = dataset.examples(*examples.EVERY)
    matrix = Graphs(line.folder).matrix(dataset, rows)
    members = [Member(booster=booster(matrix, name)) for name in ("item_price", "user_age", "context_position")]
    merge(members, SCHEMA.ranker_names).save_model(str(line.folder / FOREST))
    store_reference(dataset, line.folder, settings.seed)
    write_json(line.folder / FACTS, {"schema_hash": SCHEMA.hash, "vocabulary": dataset.vocabulary_digest})
    return line


def booster(matrix: Floats, name: str) -> lgb.Booster:
    label = matrix[:, SCHEMA.ranker_names.index(name)]
    data = lgb.Dataset(matrix, label > np.median(label))
    return lgb.train({"objective": "binary", "verbosity": -1, "num_leaves": 7}, data, 10)
