"""How a stage of `python -m training` is run and reported: one document, or one line that says what is wrong."""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import orjson
import typer

from deploy.settings import Settings, SettingsError, load_settings
from training.errors import BusyError, DataError
from training.progress import stage

TALKING = ("train", "challenger", "daily", "collect", "benchmark")  # say themselves how far they are


def run(
    name: str,
    work: Callable[[Settings], Mapping[str, Any]],
    json: bool,
    readable: Callable[[Mapping[str, Any]], str] | None = None,
    settings: Callable[[], Settings] = load_settings,
) -> Mapping[str, Any]:
    """Run one stage, report it and return what it said; errors a person can mend end with one line and an exit code."""
    from feature_repo.store import StoreError

    started = time.monotonic()
    try:
        with nullcontext() if name in TALKING else stage(name):
            result = work(settings())
    except (DataError, BusyError) as error:
        _stop(error, error.exit_code)
    except SettingsError as error:
        _stop(error, 2)
    except StoreError as error:
        _stop(error, 1)
    document = {"command": name, "seconds": round(time.monotonic() - started, 2), **result}
    text = orjson.dumps(document).decode() if json else (readable or _readable)(document)
    sys.stdout.write(text + "\n")
    return document


def _readable(document: Mapping[str, Any]) -> str:
    return "\n".join(f"{key:<18} {orjson.dumps(value).decode()}" for key, value in document.items())


def _stop(error: Exception, code: int) -> None:
    sys.stderr.write(" ".join(str(error).split()) + "\n")
    raise typer.Exit(code)
