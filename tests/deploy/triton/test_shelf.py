"""What the overlay says, on top of a small generation: found or not, what its rows say, and all of it taken back."""

import json
import shutil
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import faiss
import numpy as np
import pytest

from deploy.triton.backends.overlay import ATTRIBUTES, Read
from exporters.generation import Choices, write_generation
from feature_repo.schema import country_code
from feature_repo.vectors import Ints, item_key
from model_repository.contract import RULE_COLUMNS
from tests.backends import backend_module
from tests.exporters.test_catalogue import Chunked, N, allowed, keys_of, unit_vectors, users

K = 20
COUNTRIES = ("DE", "FR", "NO")
KEYS = keys_of([f"item-{row}" for row in range(N)])
PRICE = RULE_COLUMNS.index("price")


@pytest.fixture(scope="module")
def kernel() -> ModuleType:
    return backend_module("catalogue")


@pytest.fixture(scope="module", params=["flat", "ivf", "hnsw"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    choices = Choices(kind=request.param, memory_bytes=2**30, candidates=K)
    write_generation(folder, Chunked(), users(), choices, "digest", lambda _: None)
    return folder


@pytest.fixture
def catalogue(kernel: ModuleType, folder: Path) -> Any:
    return kernel.Catalogue(folder, K)


def said(complete: bool = False, **changes: dict[int, object]) -> Read:
    """What a follower reads, by attribute and by row."""
    by_key = {name: {int(KEYS[row]): value for row, value in rows.items()} for name, rows in changes.items()}
    return Read(changes={name: {} for name in ATTRIBUTES} | by_key, complete=complete)  # type: ignore[arg-type]


def codes(*countries: str) -> frozenset[int]:
    return frozenset(map(country_code, countries))


def rows_found(catalogue: Any, country: str | None = None, queries: int = 8) -> Ints:
    """Rows [queries, K] in order; -1 where there are fewer."""
    answer = catalogue.search(unit_vectors(queries, 3), np.full(queries, country_code(country)))
    row_of = {int(key): row for row, key in enumerate(KEYS)} | {0: -1}
    return np.array([[row_of[key] for key in hits] for hits in answer["item_key"].tolist()])


def shown(catalogue: Any, country: str | None) -> set[int]:
    """Every row that the region may be shown."""
    return set(
        np.flatnonzero(catalogue.shelf.allowed(slice(None), catalogue.shelf.bit(country_code(country)))).tolist()
    )


def exact(rows: Ints, query: int) -> Ints:
    order = faiss.knn(unit_vectors(8, 3), unit_vectors(N, 1)[rows], K, metric=faiss.METRIC_INNER_PRODUCT)[1]
    return rows[order[query]]


@pytest.mark.parametrize("name", ["in_stock", "is_safe"])
@pytest.mark.parametrize("searched_before", [False, True])
def test_a_withdrawn_item_is_not_found_and_others_fill_its_place(
    catalogue: Any, name: str, searched_before: bool
) -> None:
    best = set(np.flatnonzero(allowed("DE"))[:60].tolist()) | set(exact(np.flatnonzero(allowed("DE")), 0).tolist())
    if searched_before:
        rows_found(catalogue, "DE")
    catalogue.shelf.take(said(**{name: dict.fromkeys(best, False)}))
    found = rows_found(catalogue, "DE")
    assert not best & set(found.ravel().tolist())
    assert (found >= 0).all()
    left = np.setdiff1d(np.flatnonzero(allowed("DE")), list(best))
    assert len(np.intersect1d(found[0], exact(left, 0))) >= 0.9 * K


def test_a_withdrawn_item_comes_back(catalogue: Any) -> None:
    before = rows_found(catalogue)
    row = int(before[0, 0])
    catalogue.shelf.take(said(in_stock={row: False}))
    assert row not in rows_found(catalogue)[0]
    catalogue.shelf.take(said(in_stock={row: True}))
    assert (rows_found(catalogue) == before).all()


def test_what_the_source_calls_out_of_stock_may_be_back(catalogue: Any) -> None:
    assert not allowed(None)[10]
    catalogue.shelf.take(said(in_stock={10: True}, is_safe={10: True}))
    assert shown(catalogue, None) == set(np.flatnonzero(allowed(None)).tolist()) | {10}


def test_a_price_is_in_the_answer(catalogue: Any) -> None:
    row = int(rows_found(catalogue)[0, 0])
    catalogue.shelf.take(said(price={row: 12.5}))
    assert catalogue.search(unit_vectors(8, 3), np.zeros(8))["rules"][0, 0, PRICE] == 12.5
    catalogue.shelf.take(said(price={row: None}))
    assert catalogue.search(unit_vectors(8, 3), np.zeros(8))["rules"][0, 0, PRICE] == row


@pytest.mark.parametrize("searched_before", [False, True])
def test_regions_change(catalogue: Any, searched_before: bool) -> None:
    before = {country: shown(catalogue, country) for country in COUNTRIES}
    if searched_before:
        [rows_found(catalogue, country) for country in COUNTRIES]
    german, anywhere = 11, 13
    assert german in before["DE"] - before["FR"]
    assert anywhere in before["NO"]
    catalogue.shelf.take(said(regions={german: codes("FR"), anywhere: codes("NO", "DE")}))
    assert shown(catalogue, "DE") == before["DE"] - {german}
    assert shown(catalogue, "FR") == before["FR"] - {anywhere} | {german}
    assert shown(catalogue, "NO") == before["NO"]  # a country that no item of the generation named
    assert shown(catalogue, "SE") == before["NO"] - {anywhere}
    catalogue.shelf.take(said(regions={german: frozenset(), anywhere: None}))
    assert {country: shown(catalogue, country) for country in COUNTRIES} == {
        country: rows | {german} for country, rows in before.items()
    }


def test_more_countries_than_there_is_room_for_show_an_item_nowhere_wrong(catalogue: Any) -> None:
    every = [a + b for a in "ABCDEF" for b in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    catalogue.shelf.take(said(regions={row: codes(country) for row, country in zip(range(1, 157), every, strict=True)}))
    for row, country in zip(range(1, 157), every, strict=True):
        assert [other for other in ("DE", "FR", "ZZ") if other != country and row in shown(catalogue, other)] == []


def test_what_was_said_is_taken_back(catalogue: Any) -> None:
    before = {country: shown(catalogue, country) for country in COUNTRIES}
    everything = said(in_stock={1: False, 2: False}, is_safe={3: False}, price={4: 1.0}, regions={6: codes("DE")})
    catalogue.shelf.take(everything)
    assert catalogue.shelf.overlaid == 5
    catalogue.shelf.take(said(in_stock={2: False}))
    assert catalogue.shelf.overlaid == 5
    catalogue.shelf.take(said(complete=True, in_stock={2: False}))
    assert catalogue.shelf.overlaid == 1
    assert {c: shown(catalogue, c) for c in COUNTRIES} == {c: rows - {2} for c, rows in before.items()}
    assert catalogue.shelf.rules[4, PRICE] == 4.0
    catalogue.shelf.take(said(complete=True))
    assert {c: shown(catalogue, c) for c in COUNTRIES} == before
    assert catalogue.shelf.overlaid == 0


def test_an_item_of_another_generation_is_passed_over(catalogue: Any) -> None:
    before = shown(catalogue, None)
    unknown = {item_key(f"elsewhere-{i}"): False for i in range(50)}
    catalogue.shelf.take(Read(changes={name: {} for name in ATTRIBUTES} | {"in_stock": unknown}))
    assert shown(catalogue, None) == before
    assert catalogue.shelf.overlaid == 0


@pytest.mark.parametrize("folder", ["ivf"], indirect=True)
def test_what_a_hasty_search_lacks_is_looked_for_everywhere(kernel: ModuleType, folder: Path, tmp_path: Path) -> None:
    """One list holds fewer than are asked for, and FAISS pads: no padding is taken for a row."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    facts = json.loads((tmp_path / "table.json").read_text())
    (tmp_path / "table.json").write_text(json.dumps(facts | {"nprobe": 1}))
    hasty = kernel.Catalogue(tmp_path, 150)
    answer = hasty.search(unit_vectors(8, 3), np.full(8, country_code("DE")))
    assert (answer["count"] == 150).all()
    sold = set(KEYS[allowed("DE")].tolist())
    assert all(len(sold & set(keys)) == 150 for keys in answer["item_key"].tolist())


def test_all_withdrawn_is_an_empty_answer(catalogue: Any) -> None:
    rows_found(catalogue)
    catalogue.shelf.take(said(in_stock=dict.fromkeys(range(N), False)))
    answer = catalogue.search(unit_vectors(2, 3), np.zeros(2))
    assert (answer["count"] == 0).all()
    assert not answer["item_key"].any()


def test_what_the_search_looks_at_is_what_the_rows_say(kernel: ModuleType, catalogue: Any) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        rows = rng.integers(0, N, 40)
        catalogue.shelf.take(
            said(
                in_stock={row: (True, False, None)[rng.integers(3)] for row in rows[:20]},
                is_safe={row: (True, False, None)[rng.integers(3)] for row in rows[10:30]},
                regions={
                    row: (codes("DE"), codes("IT", "FR"), frozenset(), None)[rng.integers(4)] for row in rows[20:]
                },
            )
        )
        for country in ("DE", "FR", "IT", None):
            bit = catalogue.shelf.bit(country_code(country))
            fresh, kept = kernel.Region(catalogue.shelf.allowed(slice(None), bit)), catalogue.shelf.region(bit)
            assert kept.total == fresh.total
            assert [kept.selector.is_member(i) for i in range(N)] == [fresh.selector.is_member(i) for i in range(N)]


def test_searches_go_on_while_items_come_and_go(catalogue: Any) -> None:
    best, rest = set(exact(np.flatnonzero(allowed(None)), 0).tolist()), np.flatnonzero(allowed(None))
    stays, done = set(rest[::3].tolist()) - best, threading.Event()

    def come_and_go() -> None:
        for turn in range(300):
            catalogue.shelf.take(said(in_stock=dict.fromkeys(best, bool(turn % 2))))
        catalogue.shelf.take(said(in_stock=dict.fromkeys(stays, False)))
        done.set()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    while not done.is_set():
        assert set(rows_found(catalogue, None, 4).ravel().tolist()) <= set(rest.tolist())
    thread.join()
    found = set(rows_found(catalogue).ravel().tolist())
    assert not found & stays
    assert found & best


class Limited:
    """Searches like GPU FAISS: knows no selectors."""

    def __init__(self, index: faiss.Index) -> None:
        self._index = index
        self.ntotal, self.d, self.metric_type = index.ntotal, index.d, index.metric_type

    def search(self, queries: np.ndarray, k: int) -> Any:
        return self._index.search(queries, k)


def test_on_a_gpu_withdrawn_items_are_filtered_as_well(kernel: ModuleType, folder: Path) -> None:
    catalogue = kernel.Catalogue(folder, K, gpu=Limited)
    best = set(rows_found(catalogue, "DE").ravel().tolist())
    catalogue.shelf.take(said(in_stock=dict.fromkeys(best, False)))
    found = rows_found(catalogue, "DE")
    assert not best & set(found.ravel().tolist())
    assert (found >= 0).all()
