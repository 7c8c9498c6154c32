"""The strong peer: the orchestrator's own code around models in its own process, a worker for each core.

Everything but Triton is the same, so what it answers more than Trident is what Triton costs. A request computes on
the event loop: with a worker for each core, threads would only add their switches.
"""

from functools import partial
from pathlib import Path

from fastapi import FastAPI

from deploy.settings import Settings, load_settings
from orchestrator.app import assemble, policy_of
from orchestrator.feast_rows import open_feast
from orchestrator.logs import configure
from orchestrator.redis_link import RedisLink
from orchestrator.service import build
from orchestrator.triton import Connection
from perf.peers import MONOLITH, MONOLITH_LIGHTGBM
from perf.peers.models import InProcess, LocalModels, Release, lightgbm, served_forest


def create_app() -> FastAPI:
    """The served forest engine."""
    return _app(MONOLITH)


def create_lightgbm_app() -> FastAPI:
    """`Booster.predict` instead: what an engineer would write in a day."""
    return _app(MONOLITH_LIGHTGBM)


def _app(name: str) -> FastAPI:
    settings = load_settings()
    configure(settings.log_level)
    policy = policy_of(settings)
    store = RedisLink(settings.redis_url, policy.redis_connect_s)
    models = local_models(settings, name)
    service = build(
        policy,
        store,
        connect=partial(_connect, models),
        folder=_folder(settings, name),
        impressions=settings.logs / f"impressions-{name}.jsonl",
        open_rows=partial(open_feast, settings),
    )
    return assemble(service, before=store.start, after=store.close)


def local_models(settings: Settings, name: str) -> LocalModels:
    """The newest release with the forest engine of the peer `name`. Raises PerfError without one."""
    release = Release.newest(settings)
    score = lightgbm(release.forest) if name == MONOLITH_LIGHTGBM else served_forest(release.checkpoint)
    return LocalModels(release, score)


def _connect(models: LocalModels, target: str) -> Connection:
    del target
    return InProcess(models)


def _folder(settings: Settings, name: str) -> Path:
    folder = settings.workspace / "perf" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
