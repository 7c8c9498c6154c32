"""The offline stages: `python -m training <command>`. Each can be run again and replaces what it wrote before.

    ingest (or sample) → validate → features → materialize
                                ↘ train (→ evaluate, to judge a line again)

Exit codes: 0 done, 1 something it needs does not answer, 2 bad input (one line on stderr says which and where).
"""  # fmt: skip

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Annotated, Any

import orjson
import typer

from deploy.settings import Settings, SettingsError, load_settings
from training.errors import DataError
from training.progress import bars, stage

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)

Json = Annotated[bool, typer.Option("--json", help="the last line of stdout is one JSON document")]
LowQuality = Annotated[bool, typer.Option("--allow-low-quality", help="publish tables below the minimum quality")]


@app.command()
def sample(json: Json = False) -> None:
    """Generate a sample shop as raw tables, whatever the source setting says."""
    from training.adapters.ingest import sample as generate

    run("sample", generate, json, settings_for_sample)


@app.command()
def ingest(json: Json = False) -> None:
    """Read the configured source and write the canonical raw tables."""
    from training.adapters.ingest import ingest as read

    run("ingest", read, json)


@app.command()
def validate(allow_low_quality: LowQuality = False, json: Json = False) -> None:
    """Check the raw tables: clean rows, a quarantine with reasons, a report."""
    from training.pipeline.run import validate as check

    run("validate", lambda settings: check(settings, allow_low_quality), json)


@app.command()
def features(json: Json = False) -> None:
    """Compute point-in-time snapshots, examples and pairs."""
    from training.pipeline.run import features as compute

    run("features", compute, json)


@app.command()
def pipeline(allow_low_quality: LowQuality = False, json: Json = False) -> None:
    """Validate and compute features in one Spark session."""
    from training.pipeline.run import pipeline as both

    run("pipeline", lambda settings: both(settings, allow_low_quality), json)


@app.command()
def materialize(json: Json = False) -> None:
    """Write the latest features to Redis: Feast's rows, packed user rows, what is shown of items."""
    from feature_repo.store import materialize as write

    run("materialize", write, json)


@app.command()
def train(json: Json = False) -> None:
    """Train a new line: towers and forest, judged on the test window, then refit through T."""
    run("train", _train, json)


@app.command()
def evaluate(json: Json = False) -> None:
    """Judge the newest line's recipe on the test window and store its metrics."""
    run("evaluate", _evaluate, json)


def _train(settings: Settings) -> Mapping[str, Any]:
    from training.recipe import train as recipe

    with bars() as report:
        line = recipe(settings, report)
    return {**line.metrics, **{key: line.facts[key] for key in ("epochs", "rounds", "schema_hash")}}


def _evaluate(settings: Settings) -> Mapping[str, Any]:
    from training.evaluate import evaluate as judge
    from training.lines import latest

    return judge(settings, latest(settings.lines))


def settings_for_sample() -> Settings:
    """The settings with the sample as source."""
    return load_settings().model_copy(update={"source": "sample"})


def run(
    name: str,
    work: Callable[[Settings], Mapping[str, Any]],
    json: bool,
    settings: Callable[[], Settings] = load_settings,
) -> None:
    """Run one stage and report it; errors a person can mend end with one line and an exit code."""
    from feature_repo.store import StoreError

    started = time.monotonic()
    try:
        with nullcontext() if name == "train" else stage(name):  # training draws bars of its own
            result = work(settings())
    except (DataError, SettingsError) as error:
        _stop(error, 2)
    except StoreError as error:
        _stop(error, 1)
    document = {"command": name, "seconds": round(time.monotonic() - started, 2), **result}
    text = orjson.dumps(document).decode() if json else _readable(document)
    sys.stdout.write(text + "\n")


def _readable(document: Mapping[str, Any]) -> str:
    return "\n".join(f"{key:<18} {orjson.dumps(value).decode()}" for key, value in document.items())


def _stop(error: Exception, code: int) -> None:
    sys.stderr.write(" ".join(str(error).split()) + "\n")
    raise typer.Exit(code)


if __name__ == "__main__":
    app()
