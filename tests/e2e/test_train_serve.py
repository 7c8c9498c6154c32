"""Training and serving see the same numbers, on real users of the running stack.

    the packed row in Redis          = Feast's online row = the training tables' final snapshot
    what a real request was given    = that row, its history and its context as training makes them, by the logged hash
    the matrix Triton assembled      = the one training assembles from its own tables for the same candidates
    the ensemble's scores            = LightGBM's on that matrix
"""  # fmt: skip

import asyncio
import hashlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import lightgbm as lgb
import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from deploy.local.serve import Platform
from deploy.settings import Settings
from exporters.manifest import Manifest
from exporters.records import read_features
from exporters.server import Server
from exporters.verify import verify
from feature_repo import store
from feature_repo.context import RequestContext, context_array, context_arrays
from feature_repo.rows import UserRow, unpack_user_row, user_key
from feature_repo.schema import SCHEMA, country_code
from feature_repo.served import FIELD, IMPRESSIONS
from feature_repo.store import connect
from feature_repo.vectors import Floats, Ints, item_key
from model_repository.contract import ASSEMBLE, CANDIDATE_SEARCH, RECOMMEND, USER_TOWER, Model, recommend_name
from training.dataset import Dataset, Examples
from training.lines import ASSEMBLE as ASSEMBLE_FILE
from training.lines import FOREST, Line, latest
from training.matrices import Graphs

pytestmark = [
    pytest.mark.e2e, pytest.mark.spark, pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]  # fmt: skip

USERS = 60
MOMENT = datetime(2026, 9, 27, 22, 41, tzinfo=UTC)  # a Sunday in UTC, already Monday in Tokyo
SAYS: tuple[dict[str, Any], ...] = (
    {},
    {"device": "mobile", "os": "android", "country": "DE", "language": "de-AT", "time_zone": "Europe/Vienna",
     "placement": "home", "referrer": "search", "session_depth": 3},
    {"device": "tv", "country": "JP", "time_zone": "Asia/Tokyo", "session_depth": 255},
    {"os": "ios", "language": "gsw", "time_zone": "Asia/Kathmandu", "placement": "cart", "referrer": "ads"},
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What Triton made of one request: ids [n], keys [n], item features [n, I], matrix [n, R], scores [n, 3]."""

    ids: list[str]
    keys: Ints
    features: Floats
    matrix: Floats
    scores: Floats


@pytest.fixture(scope="module")
def dataset(settings: Settings, stack: Platform) -> Dataset:
    return Dataset(settings.features)


@pytest.fixture(scope="module")
def line(settings: Settings, stack: Platform) -> Line:
    return latest(settings.lines)


@pytest.fixture(scope="module")
def manifest(settings: Settings, stack: Platform) -> Manifest:
    return verify(settings.releases / "1")


@pytest.fixture(scope="module")
def users(dataset: Dataset) -> list[str]:
    """Users that differ: evenly spread over all of them."""
    known = sorted(set(dataset.users.ids.tolist()))
    return known[:: len(known) // USERS][:USERS]


@pytest.fixture(scope="module")
def packed(settings: Settings, users: list[str]) -> list[UserRow]:
    """The rows a request reads."""
    with connect(settings) as client:
        return [unpack_user_row(client.get(user_key(user))) for user in users]


def final(dataset: Dataset, users: list[str]) -> Ints:
    """Rows of the users' final snapshots in the training tables."""
    at = np.full(len(users), dataset.snapshot("final"), "datetime64[us]")
    return dataset.users.find(np.array(users, object), at)


def feast_rows(settings: Settings, users: list[str]) -> list[UserRow | None]:
    async def read() -> list[UserRow | None]:
        feast = store.open_store(settings)
        await feast.initialize()
        try:
            return [await store.user_row_async(feast, user) for user in users]
        finally:
            await feast.close()

    return asyncio.run(read())


def said(settings: Settings, users: list[str]) -> dict[str, list[Any]]:
    """What each user's request says, by column; what it leaves out is the user's own, as the users table has it."""
    homes = pq.read_table(settings.tables / "users").to_pandas().set_index("user_id")
    requests = [SAYS[n % len(SAYS)] for n in range(len(users))]
    own = {name: [homes[name][user] for user in users] for name in ("country", "language")}
    columns = {
        name: [request.get(name) for request in requests] for name in ("device", "time_zone", "placement", "referrer")
    }
    columns |= {name: [r.get(name, home) for r, home in zip(requests, own[name], strict=True)] for name in own}
    return columns | {
        "system": [request.get("os") for request in requests],
        "session_depth": [request.get("session_depth", 0) for request in requests],
    }


def contexts(settings: Settings, users: list[str], at: datetime) -> Floats:
    """The context rows of the users' requests as training makes them, all at one moment."""
    moments = np.full(len(users), at.replace(tzinfo=None), "datetime64[us]")
    return context_arrays(moments, position=0, **said(settings, users))


def test_the_served_graph_is_the_one_training_ran(settings: Settings, line: Line) -> None:
    served = settings.releases / "1" / ASSEMBLE.name / ASSEMBLE.artifact
    assert served.read_bytes() == (line.folder / ASSEMBLE_FILE).read_bytes()


def test_packed_row_feast_row_and_training_row_are_the_same_bits(
    settings: Settings, dataset: Dataset, users: list[str], packed: list[UserRow]
) -> None:
    rows, computed_at = final(dataset, users), datetime.fromisoformat(dataset.facts["as_of"]).timestamp()
    assert len(users) == USERS
    for row, one, other in zip(rows, packed, feast_rows(settings, users), strict=True):
        assert other is not None
        assert one.values.tobytes() == other.values.tobytes() == dataset.users.rows[row].tobytes()
        assert one.history.tobytes() == other.history.tobytes() == dataset.histories[row].tobytes()
        assert one.computed_at == other.computed_at == computed_at
    assert np.mean([row.history.any() for row in packed]) > 0.5


def test_a_real_request_is_given_what_training_would_give_it(
    settings: Settings, dataset: Dataset, users: list[str], api: httpx.Client
) -> None:
    for n, user in enumerate(users):
        body = {"user_id": user, **SAYS[n % len(SAYS)]}
        assert api.post("/v1/recommend", json=body, headers={"x-request-id": f"equal-{n}"}).status_code == 200
    rows = final(dataset, users)
    for n, entry in enumerate(logged(settings, [f"equal-{n}" for n in range(USERS)])):
        minutes = {entry["at"] // 60, (entry["at"] - 2) // 60}  # the line is written after the context is made
        possible = set()
        for minute in minutes:
            context = contexts(settings, users, datetime.fromtimestamp(60 * minute, UTC))[n]
            inputs = (dataset.users.rows[rows[n]], dataset.histories[rows[n]], context)
            possible.add(hashlib.blake2b(b"".join(a.tobytes() for a in inputs), digest_size=8).hexdigest())
        assert entry["features"] in possible, users[n]


def logged(settings: Settings, request_ids: list[str], seconds: float = 10.0) -> list[dict[str, Any]]:
    """The impression log's entries of the requests, once they are all there."""
    deadline = time.monotonic() + seconds
    while True:
        with connect(settings) as client:
            lines = [orjson.loads(fields[FIELD]) for _, fields in client.xrange(IMPRESSIONS)]
        entries = {line["request_id"]: line for line in lines}
        if all(request_id in entries for request_id in request_ids):
            return [entries[request_id] for request_id in request_ids]
        assert time.monotonic() < deadline, "the impression log is not written"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def served(settings: Settings, manifest: Manifest, users: list[str], packed: list[UserRow]) -> list[Served]:
    """The ensemble's steps one by one, on the rows in Redis and the context the orchestrator makes."""
    server, columns = Server(settings.triton_url), said(settings, users)
    answers = []
    for n, row in enumerate(packed):
        request = RequestContext(at=MOMENT, **{name: values[n] for name, values in columns.items()})
        answers.append(ask(server, manifest, row, context_array(request), country_code(request.country)))
    return answers


def ask(server: Server, manifest: Manifest, row: UserRow, context: Floats, country: int) -> Served:
    def step(model: Model, inputs: dict[str, Any]) -> dict[str, Any]:
        slot = manifest.slots[model.name]
        return server.infer(model, slot.model, slot.version, inputs)

    known = {"user_features": row.values[None], "user_history": row.history[None], "context_features": context[None]}
    embedding = step(USER_TOWER, {"user_features": row.values[None]})["user_embedding"]
    search = {"user_embedding": embedding, "country": np.array([[country]], np.int32)}
    found = step(CANDIDATE_SEARCH, search)
    carried = {name: found[name] for name in ("item_key", "similarity", "item_features")}
    matrix = step(ASSEMBLE, known | carried)["ranker_features"]
    answer = server.infer(RECOMMEND, recommend_name(manifest.release), 1, known | search)
    count = int(answer["count"][0, 0])
    assert answer["item_key"].tobytes() == found["item_key"].tobytes()
    return Served(
        ids=[raw.tobytes().rstrip(b"\0").decode() for raw in found["item_id"][0, :count]],
        keys=found["item_key"][0, :count],
        features=found["item_features"][0, :count],
        matrix=matrix[:count],
        scores=answer["scores"][:count],
    )


def as_examples(dataset: Dataset, settings: Settings, users: list[str], served: list[Served]) -> Examples:
    """The candidates as ranking examples: final snapshots, contexts as training makes them."""
    sizes = [len(answer.ids) for answer in served]
    ids = np.array([item for answer in served for item in answer.ids], object)
    nothing = np.zeros(len(ids), np.int64)
    return Examples(
        request=np.repeat(np.arange(len(users)), sizes),
        users=np.repeat(final(dataset, users), sizes),
        items=dataset.items.find(ids, np.full(len(ids), dataset.snapshot("final"), "datetime64[us]")),
        context=np.repeat(contexts(settings, users, MOMENT), sizes, axis=0),
        position=nothing, grade=nothing, clicked=nothing, purchased=nothing,
        sampling_rate=np.ones(len(ids), np.float32),
    )  # fmt: skip


def test_triton_assembles_the_matrix_that_training_assembles(
    settings: Settings, dataset: Dataset, line: Line, users: list[str], served: list[Served]
) -> None:
    examples = as_examples(dataset, settings, users, served)
    expected, found = Graphs(line.folder).matrix(dataset, examples), np.concatenate([a.matrix for a in served])
    summed = np.isin(SCHEMA.ranker_names, ["cross_similarity", "cross_similarity_ctr"])  # FAISS sums in its own order
    assert len(found) > 50 * USERS
    differing = (found != expected).any(axis=0) & ~summed
    assert [name for name, bad in zip(SCHEMA.ranker_names, differing, strict=True) if bad] == []
    assert np.abs(found - expected)[:, summed].max() <= 1e-6
    fired = {name: bool(column.any()) for name, column in zip(SCHEMA.ranker_names, found.T, strict=True)}
    assert all(
        fired[name]
        for name in SCHEMA.ranker_names
        if name.startswith(("cross_", "context_")) and name != "context_position"
    )


def test_the_release_holds_the_training_rows(
    settings: Settings, dataset: Dataset, users: list[str], served: list[Served]
) -> None:
    rows = as_examples(dataset, settings, users, served).items
    found = np.concatenate([answer.features for answer in served])
    assert found.tobytes() == dataset.items.rows[rows].tobytes()
    folder = settings.releases / "1" / CANDIDATE_SEARCH.name
    place = {key: row for row, key in enumerate(np.load(folder / "keys.npy").tolist())}
    keys = np.concatenate([answer.keys for answer in served])
    assert keys.tolist() == [item_key(item) for answer in served for item in answer.ids]
    assert read_features(folder, np.array([place[key] for key in keys.tolist()])).tobytes() == found.tobytes()


def test_the_ensemble_scores_that_matrix(line: Line, served: list[Served]) -> None:
    forest = lgb.Booster(model_file=str(line.folder / FOREST))
    expected = forest.predict(np.concatenate([answer.matrix for answer in served]))
    assert np.abs(np.concatenate([answer.scores for answer in served]) - expected).max() <= 1e-6
