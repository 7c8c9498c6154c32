"""A service on fakes, its HTTP client, and the documents it follows."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest
from pydantic import SecretStr

from feature_repo.rows import UserRow, marker_key, pack_user_row, user_key
from feature_repo.schema import SCHEMA
from feature_repo.vectors import USER_DEFAULTS, Ints, history_entry, item_key, sequence
from model_repository.traffic import TRAFFIC_KEY, Arm, Change, Popular, PopularItem, ServedRelease, Traffic, popular_key
from orchestrator.app import assemble
from orchestrator.fakes import FakeInference, FakeRows, FakeStore, fake_id
from orchestrator.gate import GatePolicy
from orchestrator.keyring import AdminKey
from orchestrator.policy import LagPolicy, Policy, Standing
from orchestrator.service import Service, build

KNOWN_USER = "ana"
ADMIN = {"authorization": "Bearer an-admin-key-for-tests"}
ADMIN_KEY = AdminKey(SecretStr("an-admin-key-for-tests"))


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio."""
    return "asyncio"


def served(release: int = 1, line: int = 1, digest: str = "tower") -> ServedRelease:
    """A release as the record names it."""
    return ServedRelease(
        release=release,
        line=line,
        user_tower=("user_tower", line),
        candidates=("candidates", release),
        recommend=(f"recommend_{release}", 1),
        tower_digest=digest,
        schema_hash=SCHEMA.hash,
        triton=("fake:1",),
        assemble=("assemble", line),
        explain=("explain", line),
    )


def record(*releases: ServedRelease, arms: tuple[Arm, ...] | None = None, sequence: int = 1) -> bytes:
    """A traffic record's JSON; everything goes to the last release unless arms are given."""
    releases = releases or (served(),)
    arms = arms or (Arm(variant="champion", release=releases[-1].release, share=1.0),)
    change = Change(action="promote", at=datetime(2026, 1, 1, tzinfo=UTC))
    traffic = Traffic(sequence=sequence, salt="salt", arms=arms, releases=releases, changed=change)
    return traffic.model_dump_json().encode()


def popular(release: int = 1, items: int = 50) -> bytes:
    """Popular items p0000…; every tenth is sold in Norway only."""
    documents = tuple(
        PopularItem(
            item_id=f"p{i:04d}",
            price=1.0,
            category=i % 20,
            age_days=1.0,
            score=1.0 / (i + 1),
            regions=("NO",) if i % 10 == 0 else None,
            metadata={"title": f"popular {i}"},
        )
        for i in range(items)
    )
    return Popular(release=release, items=documents).model_dump_json().encode()


def marker(age_s: float = 0.0) -> bytes:
    """A materialisation `age_s` seconds ago."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - age_s))
    return orjson.dumps({"at": moment, "as_of": moment})


def user_row() -> np.ndarray:
    """A row that differs from the defaults."""
    row = USER_DEFAULTS.copy()
    row[0] = 33.0
    return row


def history() -> Ints:
    """A purchase of the fake catalogue's first item, before it a click on the third."""
    return sequence([history_entry(item_key(fake_id(0)), 3), history_entry(item_key(fake_id(2)), 1)])


def packed(values: np.ndarray | None = None, computed_at: float | None = None) -> bytes:
    """A packed row of now, with the history."""
    row = user_row() if values is None else values
    moment = time.time() if computed_at is None else computed_at
    return pack_user_row(UserRow(values=row, history=history(), computed_at=int(moment)))


def full_store() -> FakeStore:
    """Redis as the pipeline leaves it."""
    return FakeStore(
        values={
            TRAFFIC_KEY: record(),
            marker_key(): marker(),
            popular_key(1): popular(),
            user_key(KNOWN_USER): packed(),
            "item:item0000": b'{"title":"first","category":"a","price":2.5}',
        }
    )


@dataclass
class World:
    """A running service and everything around it."""

    folder: Path
    policy: Policy
    store: FakeStore = field(default_factory=full_store)
    triton: FakeInference = field(default_factory=FakeInference)
    rows: FakeRows = field(default_factory=FakeRows)

    def service(self) -> Service:
        """A fresh service, as after a restart."""

        async def open_rows() -> FakeRows:
            return self.rows

        return build(
            self.policy,
            self.store,
            connect=lambda target: self.triton,
            folder=self.folder,
            impressions=self.folder / "impressions.jsonl",
            open_rows=open_rows,
        )

    def client(self, service: Service) -> httpx.AsyncClient:
        """An HTTP client of the application around a service; the service is started by whoever made it."""
        transport = httpx.ASGITransport(app=assemble(service, key=ADMIN_KEY), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://test")


@dataclass
class Running:
    """What most tests use."""

    world: World
    service: Service
    http: httpx.AsyncClient

    async def recommend(self, user_id: str = KNOWN_USER, **parameters: object) -> dict:
        """The parsed answer; anything but 200 fails the test."""
        answer = await self.http.get("/recommend", params={"user_id": user_id, **parameters})
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def policy() -> Policy:
    """A deadline that a busy test machine does not miss; tests of lateness choose a shorter one."""
    return patient(2.0)


def patient(deadline_s: float, **changes: object) -> Policy:
    """The default policy with another deadline."""
    never = Standing(late_s=1e9, patience_s=1e9, rounds=3)
    fixed = {"gate": GatePolicy(slow_s=deadline_s / 2), "lag": LagPolicy(first=never)}
    return Policy(deadline_s=deadline_s, **fixed | changes)  # type: ignore[arg-type]


@pytest.fixture
def world(tmp_path: Path, policy: Policy) -> World:
    """Fakes, not yet started."""
    return World(tmp_path, policy)


@pytest.fixture
async def running(world: World) -> AsyncIterator[Running]:
    """A started service on fakes."""
    service = world.service()
    await service.start()
    world.triton.calls.clear()
    world.store.round_trips.clear()
    async with world.client(service) as http:
        yield Running(world, service, http)
    await service.stop()
