"""`python -m perf load`."""

from typing import Annotated

import typer

from deploy.settings import load_settings
from perf.console import Json, finish, show


def load(
    requests: Annotated[int, typer.Option(min=1)] = 1000,
    clients: Annotated[int, typer.Option(min=1, max=1024)] = 16,
    as_json: Json = False,
) -> None:
    """Closed-loop requests on the REST API: statuses, releases, degraded levels, latency, rate."""
    from perf.load import load as drive

    result = drive(load_settings(), requests, clients)
    show([result])
    finish(result, as_json)
