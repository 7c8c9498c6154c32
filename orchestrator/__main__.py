"""`python -m orchestrator serve` and `warm`: the REST API, and user embeddings cached before they are asked for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated

import orjson
import typer
import uvicorn

from deploy.settings import Settings, SettingsError, load_settings
from feature_repo.rows import MOST_ACTIVE
from orchestrator.app import policy_of
from orchestrator.errors import StageError
from orchestrator.fleet import Fleet
from orchestrator.listen import OPTIONS
from orchestrator.redis_link import RedisLink
from orchestrator.triton import TritonClient
from orchestrator.warming import Warmed, WarmError, active_users, served_releases, warm

GRACE_S = 8
cli = typer.Typer(add_completion=False, help="The orchestrator: one request from HTTP to ranked items.")


@cli.callback()
def main() -> None:
    """Commands of the orchestrator."""


@cli.command()
def serve() -> None:
    """Serve in the foreground until SIGTERM or SIGINT; requests in flight finish first."""
    settings = _settings()
    uvicorn.run(
        "orchestrator.app:create_app",
        host=settings.host,
        port=settings.api_port,
        timeout_graceful_shutdown=GRACE_S,
        **OPTIONS,
    )


@cli.command("warm")
def warm_up(
    release: Annotated[int | None, typer.Option(help="only this release; otherwise every one that is loaded")] = None,
    users: Annotated[int, typer.Option(min=1, max=MOST_ACTIVE, help="of the most active")] = MOST_ACTIVE,
    json: Annotated[bool, typer.Option("--json", help="last line of stdout is one JSON document")] = False,
) -> None:
    """Cache the embeddings of the most active users: hourly, and before a new line takes traffic."""
    try:
        done = asyncio.run(_warm(_settings(), release, users))
    except (WarmError, StageError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    for tower in done:
        typer.echo(f"release {tower.release}: {tower.cached} of {tower.users} users cached", err=json)
    if json:
        typer.echo(orjson.dumps({"towers": [asdict(tower) for tower in done]}))


async def _warm(settings: Settings, release: int | None, most: int) -> list[Warmed]:
    policy = policy_of(settings)
    async with _connected(settings) as (store, fleet):
        releases = await served_releases(store, release)
        fleet.open(target for served in releases for target in served.triton)
        return await warm(store, fleet, releases, await active_users(store, most), policy.embedding_ttl_s)


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[tuple[RedisLink, Fleet]]:
    policy = policy_of(settings)
    store = RedisLink(settings.redis_url, policy.redis_connect_s)
    fleet = Fleet(TritonClient, policy.breaker)
    await store.start()
    try:
        yield store, fleet
    finally:
        await fleet.close()
        await store.close()


def _settings() -> Settings:
    try:
        return load_settings()
    except SettingsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    cli(prog_name="python -m orchestrator")
