"""`python -m tests.orchestrator.small_server`: the service on the settings' Redis, a fake Triton and no Feast."""

import uvicorn
from fastapi import FastAPI

from deploy.settings import load_settings
from orchestrator.__main__ import GRACE_S
from orchestrator.app import assemble
from orchestrator.fakes import FakeInference
from orchestrator.listen import OPTIONS
from orchestrator.redis_link import RedisLink
from orchestrator.service import build
from tests.orchestrator.conftest import patient


async def no_rows() -> None:
    """There is no feature store."""


def create_app() -> FastAPI:
    """uvicorn's factory."""
    settings, policy = load_settings(), patient(2.0)
    store = RedisLink(settings.redis_url, policy.redis_connect_s)
    service = build(
        policy,
        store,
        connect=lambda target: FakeInference(),
        folder=settings.workspace,
        impressions=settings.logs / "impressions.jsonl",
        open_rows=no_rows,
    )
    return assemble(service, before=store.start, after=store.close)


if __name__ == "__main__":
    uvicorn.run(
        create_app, host="127.0.0.1", port=load_settings().api_port, timeout_graceful_shutdown=GRACE_S, **OPTIONS
    )
