"""`python -m perf store`."""

from typing import Annotated

import typer

from deploy.settings import load_settings
from perf.console import Json, Save, finish, show


def store(users: Annotated[int, typer.Option(min=1)] = 1_000_000, save: Save = None, as_json: Json = False) -> None:
    """Bytes per user and rows per second of the online store, beside Feast's own rows."""
    from perf.store import measure
    from training.machine import facts

    rows = measure(load_settings(), users)
    show(rows)
    finish({"machine": facts(), "store": rows}, as_json, save)
