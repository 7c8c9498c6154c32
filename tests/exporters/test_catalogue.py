"""Index, item table and the catalogue kernel that serves them: known answers on a small catalogue."""

import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import faiss
import numpy as np
import pandas as pd
import pytest

from deploy.triton.backends.faiss.records import FILE, Records, singles
from exporters.errors import ExportError, ManifestError
from exporters.generation import Choices, Chunk, Users, write_generation
from exporters.golden import LEAST_RECALL
from exporters.index import TARGET_RECALL, IndexSpec, empty_index
from exporters.manifest import IndexFacts
from exporters.queries import read_queries
from exporters.records import STORED_RULES, RecordWriter, item_blocks, read_features, read_id_bytes, read_ids
from exporters.table import ItemTable, TableWriter, item_table, most_popular, popular_items, region_bits
from feature_repo.schema import HISTORY, ITEM_WIDTH, SCHEMA, USER_WIDTH, country_code
from feature_repo.vectors import Floats, Ints, columns_to_array, item_key
from model_repository.contract import RULE_COLUMNS
from tests.backends import backend_module

N, D, K = 300, 16, 50
COUNTRIES = {0: None, 1: "DE", 2: "FR"}


@pytest.fixture(scope="module")
def kernel() -> ModuleType:
    return backend_module("catalogue")


def unit_vectors(n: int, seed: int) -> Floats:
    vectors = np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def table(n: int = N) -> ItemTable:
    items = pd.DataFrame(
        {
            "item_id": [f"item-{i}" for i in range(n)],
            "category": [f"c{i % 7}" for i in range(n)],
            "price": np.arange(n, dtype=float),
            "created_at": pd.Timestamp("2026-01-01", tz="UTC"),
            "in_stock": [i % 10 != 0 for i in range(n)],
            "is_safe": [None if i % 2 else i % 26 != 0 for i in range(n)],
            "regions": [["DE"] if i % 5 == 1 else ["FR", "DE"] if i % 5 == 2 else None for i in range(n)],
        }
    )
    return item_table(list(items["item_id"]), features(n), items, pd.Timestamp("2026-01-11", tz="UTC"))


def features(n: int) -> Floats:
    """Item rows as Feast's read gives them: rounded to each feature's type, with its limits and negative zeros."""
    raw = np.random.default_rng(0).normal(scale=200, size=(n, ITEM_WIDTH)).astype(np.float32)
    raw[0], raw[1], raw[2] = 1e9, -1e9, -0.0
    names = {f.name: SCHEMA.columns(f.name) for f in SCHEMA.group("item")}
    columns = {name: raw[:, at] if at.stop - at.start > 1 else raw[:, at.start] for name, at in names.items()}
    return columns_to_array("item", columns)


class Chunked:
    """The catalogue in uneven chunks, the same twice."""

    name, items, queries = "test", N, None

    def chunks(self) -> Iterator[Chunk]:
        whole, vectors = table(), unit_vectors(N, 1)
        for rows in (slice(0, 7), slice(7, 250), slice(250, N)):
            yield part(whole, rows), vectors[rows]


def part(whole: ItemTable, rows: slice) -> ItemTable:
    return ItemTable(**{f.name: getattr(whole, f.name)[rows] for f in fields(ItemTable)})


def users() -> Users:
    histories = np.zeros((40, HISTORY), np.int64)
    rows = np.zeros((40, USER_WIDTH), np.float32)
    return Users(rows=rows, histories=histories, embeddings=unit_vectors(40, 2), golden=3)


@pytest.fixture(params=["flat", "ivf", "hnsw", None])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    choices = Choices(kind=request.param, memory_bytes=2**30, candidates=K)
    facts = write_generation(tmp_path, Chunked(), users(), choices, "digest", lambda _: None)
    assert facts.recall >= TARGET_RECALL
    assert facts.kind == (request.param or facts.kind)
    assert (facts.items, facts.candidates) == (N, K)
    return tmp_path


def keys_of(ids: list[str]) -> Ints:
    return np.array([item_key(i) for i in ids], np.int64)


def write_records(folder: Path, values: Floats, part: int = N) -> dict[str, object]:
    """Items 0 … n with these features; returns what table.json says of them."""
    n = len(values)
    ids = np.arange(n, dtype="<u4").view(np.uint8).reshape(n, 4)
    writer = RecordWriter(folder, n, 4, part)
    try:
        writer.add(np.arange(n), ids, np.zeros((n, len(STORED_RULES)), np.float32), values)
    finally:
        writer.file.close()
    facts = {"id_bytes": 4, "rule_columns": STORED_RULES, "feature_columns": item_blocks()}
    (folder / "table.json").write_text(json.dumps(facts))
    return facts


def allowed(country: str | None) -> np.ndarray:
    i = np.arange(N)
    sellable = (i % 10 != 0) & ((i % 2 == 1) | (i % 26 != 0))
    german, both = i % 5 == 1, i % 5 == 2
    return sellable & (~german | (country == "DE")) & (~both | (country in ("DE", "FR")))


@pytest.mark.parametrize("country", COUNTRIES.values())
def test_answers_are_the_best_sellable_items_of_the_region(
    kernel: ModuleType, folder: Path, country: str | None
) -> None:
    queries = unit_vectors(8, 3)
    answer = kernel.Catalogue(folder, K).search(queries, np.full(8, country_code(country)))
    keys, rows = keys_of([f"item-{i}" for i in range(N)]), np.flatnonzero(allowed(country))
    exact = faiss.knn(queries, unit_vectors(N, 1)[rows], K, metric=faiss.METRIC_INNER_PRODUCT)[1]
    hits = [len(np.intersect1d(keys[rows[e]], a)) for e, a in zip(exact, answer["item_key"], strict=True)]
    assert np.mean(hits) / K >= LEAST_RECALL
    assert np.isin(answer["item_key"], keys[rows]).all()
    assert (answer["count"] == K).all()
    assert (np.diff(answer["similarity"], axis=1) <= 0).all()


def test_every_hit_carries_its_own_row(kernel: ModuleType, folder: Path) -> None:
    answer = kernel.Catalogue(folder, K).search(unit_vectors(3, 4), np.array([country_code("DE")] * 3))
    stored = table()
    for query in range(3):
        for hit in range(K):
            item = answer["item_id"][query, hit].tobytes().rstrip(b"\0").decode()
            row = stored.ids.index(item)
            assert (answer["item_features"][query, hit] == stored.features[row]).all()
            assert answer["rules"][query, hit, RULE_COLUMNS.index("price")] == row
            assert answer["rules"][query, hit, RULE_COLUMNS.index("age_days")] == 10.0
            assert answer["rules"][query, hit, RULE_COLUMNS.index("in_region")] == 1.0


def test_features_stored_by_type_come_back_bit_for_bit(tmp_path: Path) -> None:
    rows, written = np.arange(N), features(N)
    records = Records(tmp_path, write_records(tmp_path, written))
    served = records.features(np.stack([rows, rows[::-1]]))
    assert served[0].tobytes() == written.tobytes()
    assert served[1].tobytes() == written[::-1].tobytes()
    answer = records.answer(rows[None], np.array([[N]]))
    assert answer["item_features"].tobytes() == written.tobytes()
    assert read_features(tmp_path).tobytes() == written.tobytes()
    assert read_features(tmp_path, rows[3:5]).tobytes() == written[3:5].tobytes()


def test_a_record_is_as_narrow_as_the_schema_says(tmp_path: Path) -> None:
    facts = write_records(tmp_path, features(N))
    assert sorted(facts["feature_columns"]) == ["f2", "f4", "u1"]
    stored = np.load(tmp_path / FILE)
    assert all(stored.dtype[kind].base == np.dtype(kind) for kind in ("f2", "f4", "u1"))
    wide = sum(f.width * np.dtype(f.dtype).itemsize for f in SCHEMA.group("item")) + 8 + 4 * len(STORED_RULES) + 4
    assert stored.dtype.itemsize == -(-wide // 8) * 8
    assert stored.dtype["id"].itemsize == 4


def test_equal_tables_are_equal_files(tmp_path: Path) -> None:
    files = []
    for name, rows in (("whole", [slice(0, N)]), ("parts", [slice(0, 1), slice(1, 250), slice(250, N)])):
        (tmp_path / name).mkdir()
        write_rows(tmp_path / name, N, *rows)
        files.append((tmp_path / name / FILE).read_bytes())
    assert files[0] == files[1]
    record = np.load(tmp_path / "whole" / FILE).dtype
    used = max(offset + part.itemsize for part, offset in record.fields.values())
    padding = np.frombuffer(files[0][-N * record.itemsize :], np.uint8).reshape(N, -1)[:, used:]
    assert padding.size
    assert not padding.any()


def test_many_records_are_written_in_parts(tmp_path: Path) -> None:
    written = features(N)
    write_records(tmp_path, written, part=7)
    assert read_features(tmp_path).tobytes() == written.tobytes()
    assert read_id_bytes(tmp_path).view("<u4")[:, 0].tolist() == list(range(N))


def test_every_finite_half_is_the_same_single() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    assert len(finite) == 2**16 - 2**11
    assert singles(finite).tobytes() == finite.astype(np.float32).tobytes()


@pytest.mark.parametrize("value", [0.1, 1e5, np.nan, np.inf, -np.inf])  # float16 has no 0.1, and its largest is 65504
def test_a_value_its_type_cannot_hold_is_refused(tmp_path: Path, value: float) -> None:
    lossy = features(N)
    lossy[7, SCHEMA.offset("item_ctr_7d")] = value
    with pytest.raises(ExportError, match="item_ctr_7d holds values that float16 cannot"):
        write_records(tmp_path, lossy)


def resave(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return lambda path: np.save(path, change(np.load(path)))


def retyped(kind: str, wanted: object) -> Callable[[np.ndarray], np.ndarray]:
    def change(records: np.ndarray) -> np.ndarray:
        fields = [(name, wanted if name == kind else records.dtype[name]) for name in records.dtype.names]
        return records.astype(np.dtype(fields, align=True))

    return change


def without(kind: str) -> Callable[[np.ndarray], np.ndarray]:
    return lambda records: records[[name for name in records.dtype.names if name != kind]]


SPOILS = {
    "missing": (lambda path: path.unlink(), r"records.npy is missing: .* `python -m exporters publish` builds"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "records.npy: "),
    "text": (lambda path: path.write_text("not an array"), "records.npy: "),
    "empty": (lambda path: path.write_bytes(b""), "records.npy: "),
    "shorter": (resave(lambda records: records[:-1]), "says 300 items"),
    "in two dimensions": (resave(lambda records: records[:, None]), r"records.npy is .* \(300, 1\), table.json says"),
    "not packed": (resave(lambda records: records["f4"]), r"records.npy is float32 \(300, 30\), table.json says"),
    "another type": (resave(retyped("f2", (np.float32, 32))), "records.npy is .*table.json says"),
    "as wide, of another type": (resave(retyped("f4", (np.int32, 30))), "records.npy is .*table.json says"),
    "narrower": (resave(retyped("id", (np.uint8, 2))), "records.npy is .*table.json says"),
    "without a field": (resave(without("u1")), "records.npy is .*table.json says"),
}


@pytest.mark.parametrize("folder", ["flat"], indirect=True)
@pytest.mark.parametrize("spoil", SPOILS)
def test_spoilt_records_are_refused(kernel: ModuleType, folder: Path, spoil: str) -> None:
    change, message = SPOILS[spoil]
    change(folder / FILE)
    with pytest.raises(kernel.CatalogueError, match=message):
        kernel.Catalogue(folder, K)
    if message != "says 300 items":
        with pytest.raises(ManifestError, match=message):
            read_features(folder)


FACTS = {
    "a feature twice": (
        lambda facts: facts["feature_columns"]["u1"].__setitem__(0, item_blocks()["u1"][1]),
        f"do not number {ITEM_WIDTH} features once each",
    ),
    "no word of ids": (lambda facts: facts.pop("id_bytes"), r"nothing of \['id_bytes'\]: another revision"),
    "longer ids": (lambda facts: facts.update(id_bytes=100), "records.npy is .*table.json says"),
}


@pytest.mark.parametrize("folder", ["flat"], indirect=True)
@pytest.mark.parametrize("change", FACTS)
def test_a_table_that_describes_other_records_is_refused(kernel: ModuleType, folder: Path, change: str) -> None:
    facts = json.loads((folder / "table.json").read_text())
    spoil, message = FACTS[change]
    spoil(facts)
    (folder / "table.json").write_text(json.dumps(facts))
    with pytest.raises(kernel.CatalogueError, match=message):
        kernel.Catalogue(folder, K)


def test_a_mixed_batch_filters_each_row_by_its_own_region(kernel: ModuleType, folder: Path) -> None:
    catalogue = kernel.Catalogue(folder, K)
    queries, countries = unit_vectors(4, 5), np.array([country_code(c) for c in ("DE", "FR", None, "DE")])
    together = catalogue.search(queries, countries)
    for i in range(4):
        alone = catalogue.search(queries[i : i + 1], countries[i : i + 1])
        assert (alone["item_key"][0] == together["item_key"][i]).all()


def test_fewer_items_than_k_are_padded_with_zeros(kernel: ModuleType, folder: Path) -> None:
    answer = kernel.Catalogue(folder, 500).search(unit_vectors(1, 6), np.array([0]))
    count = int(answer["count"][0, 0])
    assert count == allowed(None).sum()
    assert (answer["item_key"][0, :count] != 0).all()
    assert all((array[0, count:] == 0).all() for name, array in answer.items() if name != "count")
    assert (answer["rules"][0, :count, RULE_COLUMNS.index("in_region")] == 1).all()


def test_nothing_sellable_is_an_empty_answer(kernel: ModuleType, folder: Path) -> None:
    rules = np.load(folder / "rules.npy")
    rules[:, RULE_COLUMNS.index("in_stock")] = 0
    np.save(folder / "rules.npy", rules)
    assert kernel.Catalogue(folder, K).search(unit_vectors(1, 6), np.array([0]))["count"][0, 0] == 0


@pytest.mark.parametrize(("query", "message"), [
    (np.full((1, D), np.nan, np.float32), "non-finite"),
    (np.zeros((1, D + 1), np.float32), f"dimension {D}"),
])  # fmt: skip
def test_a_wrong_query_is_refused(kernel: ModuleType, folder: Path, query: Floats, message: str) -> None:
    with pytest.raises(kernel.CatalogueError, match=message):
        kernel.Catalogue(folder, K).search(query, np.array([0]))


def test_files_of_different_sizes_are_refused(kernel: ModuleType, folder: Path) -> None:
    np.save(folder / "keys.npy", np.load(folder / "keys.npy")[:-1])
    with pytest.raises(kernel.CatalogueError, match="says 300 items"):
        kernel.Catalogue(folder, K)


@pytest.mark.parametrize("folder", ["flat"], indirect=True)
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("keys", lambda array: array.astype(np.int32)),
        ("keys", lambda array: array[:, None]),
        ("rules", lambda array: array.astype(np.float64)),
        ("rules", lambda array: array[:, :-1]),
        ("regions", lambda array: array.astype(np.uint32)),
    ],
)
def test_a_table_of_another_type_or_shape_is_refused(
    kernel: ModuleType, folder: Path, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    np.save(folder / f"{name}.npy", change(np.load(folder / f"{name}.npy")))
    with pytest.raises(kernel.CatalogueError, match=rf"{name}\.npy (is|has) "):
        kernel.Catalogue(folder, K)


def test_an_index_of_another_dimension_is_refused(kernel: ModuleType, folder: Path) -> None:
    facts = json.loads((folder / "table.json").read_text())
    (folder / "table.json").write_text(json.dumps(facts | {"dimension": D * 2}))
    with pytest.raises(kernel.CatalogueError, match="dimension"):
        kernel.Catalogue(folder, K)


def test_regions_get_a_bit_each() -> None:
    assert region_bits({"FR", "DE"}) == {country_code("DE"): 1, country_code("FR"): 2}


def test_popular_items_are_sellable_and_in_order() -> None:
    stored = table()
    popular = popular_items(stored, limit=20)
    scores = [item.score for item in popular]
    assert scores == sorted(scores, reverse=True)
    sellable = set(np.flatnonzero(allowed("DE")).tolist())
    assert all(stored.ids.index(item.item_id) in sellable for item in popular)
    column = stored.features[:, SCHEMA.offset("item_events_30d")]
    assert scores[0] == max(column[i] for i in sellable)


def test_an_item_without_a_date_is_old() -> None:
    items = pd.DataFrame({"item_id": ["a"], "created_at": [pd.NaT], "category": [None], "price": [None],
                          "in_stock": [None], "is_safe": [None], "regions": [None]})  # fmt: skip
    stored = item_table(["a"], np.zeros((1, ITEM_WIDTH), np.float32), items, pd.Timestamp("2026-02-01", tz="UTC"))
    assert stored.rules[0, RULE_COLUMNS.index("age_days")] > 36_000
    assert stored.rules[0, RULE_COLUMNS.index("in_stock")] == 1


def test_an_item_feast_knows_and_the_catalogue_does_not_is_refused() -> None:
    items = pd.DataFrame({"item_id": ["a"], "created_at": [pd.Timestamp("2026-01-01", tz="UTC")]})
    with pytest.raises(ExportError, match="1 items are in Feast, not in the catalogue, first 'b'"):
        item_table(["a", "b"], np.zeros((2, ITEM_WIDTH), np.float32), items, pd.Timestamp("2026-02-01", tz="UTC"))


def test_a_table_in_chunks_is_the_whole_table(folder: Path) -> None:
    whole = table()
    assert np.load(folder / "keys.npy").tolist() == keys_of(whole.ids).tolist()
    assert read_ids(folder) == whole.ids
    assert (np.load(folder / "rules.npy") == whole.rules).all()
    records = np.load(folder / FILE)
    assert records["key"].tolist() == keys_of(whole.ids).tolist()
    assert records["rules"].tobytes() == whole.rules.tobytes()
    assert read_features(folder).tobytes() == whole.features.tobytes()
    popular = [item["item_id"] for item in json.loads((folder / "popular.json").read_text())]
    assert popular == [item.item_id for item in popular_items(whole)]


def test_golden_keys_are_the_nearest_that_sell_everywhere(folder: Path) -> None:
    rows, histories, keys = read_queries(folder)
    assert (rows.shape, histories.shape) == ((3, USER_WIDTH), (3, HISTORY))
    sold = np.flatnonzero(allowed(None))
    exact = faiss.knn(unit_vectors(40, 2)[:3], unit_vectors(N, 1)[sold], K, metric=faiss.METRIC_INNER_PRODUCT)[1]
    assert keys.tolist() == keys_of([f"item-{sold[e]}" for row in exact for e in row]).reshape(3, K).tolist()


def test_the_most_popular_of_chunks_are_those_of_the_whole() -> None:
    whole = table()
    parts = [popular_items(part(whole, rows), 20) for rows in (slice(0, 100), slice(100, N))]
    assert most_popular((*parts[0], *parts[1]), 20) == popular_items(whole, 20)


def write_rows(folder: Path, items: int, *chunks: slice) -> None:
    facts = IndexFacts(kind="flat", items=items, dimension=D, candidates=K, recall=1.0, bytes_per_item=4 * D)
    with TableWriter(folder, items, 10, {"DE", "FR"}) as writer:
        for rows in chunks:
            writer.add(part(table(), rows))
        writer.finish(facts, "digest", "fingerprint")


def test_missing_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"keys\.npy: 7 rows were written, expected 300"):
        write_rows(tmp_path, N, slice(0, 7))


def test_equal_ids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"items \['item-(\d)', 'item-\1'\] have the same 64-bit key"):
        write_rows(tmp_path, 14, slice(0, 7), slice(0, 7))


def graph_quantized() -> faiss.Index:
    quantizer = faiss.IndexHNSWFlat(D, 4, faiss.METRIC_INNER_PRODUCT)
    quantizer.hnsw.efSearch = 1  # as bad a guide to the lists as there is
    quantizer.add(unit_vectors(60, 5))
    index = faiss.IndexIVFScalarQuantizer(quantizer, D, 60, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.own_fields = True
    quantizer.this.disown()
    index.train(unit_vectors(N, 1))
    return index


INDEXES = {
    "flat": lambda: faiss.IndexFlatIP(D),
    "hnsw": lambda: faiss.IndexHNSWFlat(D, 8, faiss.METRIC_INNER_PRODUCT),
    "ivf": lambda: empty_index(IndexSpec(kind="ivf", codec="sq8", nlist=7), unit_vectors(N, 1)),
    "ivf, graph of lists": graph_quantized,
}


@pytest.mark.parametrize("kind", INDEXES)
def test_the_last_resort_finds_every_allowed_row(kernel: ModuleType, kind: str) -> None:
    index, allowed_rows = INDEXES[kind](), np.arange(N) % 60 == 3
    index.add(unit_vectors(N, 1))
    for query in unit_vectors(20, 8):
        rows = kernel._search_all(index, query[None], 5, kernel.Region(allowed_rows).selector)[1][0]
        assert sorted(rows.tolist()) == np.flatnonzero(allowed_rows).tolist()
