"""The offline stages: `python -m training <command>`. Each can be run again and replaces what it wrote before.

    ingest (or sample) → validate → features → materialize
                                ↘ train (→ evaluate, to judge a line again; → drift, to see what has moved since)
    ingest → hourly, between daily runs
    collect: what serving logged, for the next ingest (→ skew: whether serving saw what training would have)
    daily: all of it, through the gate to a canary
    benchmark: a published protocol on its own files, beside what others reached

Exit codes: 0 done, 1 something it needs does not answer or failed, 2 bad input (one line on stderr says which and
where), 3 `drift` and `skew`: something drifted or differs, 4 `daily` alone: the gate refused the challenger.
"""  # fmt: skip

from collections.abc import Mapping
from typing import Any

import typer

from deploy.settings import Settings, load_settings
from training.adapters.files import OVERLAP
from training.benchmark.command import benchmark
from training.console import run
from training.daily import command as told
from training.daily.gate import MARGIN
from training.daily.options import PERCENT
from training.options import (
    Again,
    Beat,
    Current,
    Days,
    Everything,
    FailAbove,
    Full,
    Json,
    LogDays,
    LowQuality,
    NewCodes,
    OfLine,
    OfRelease,
    Once,
    Overlap,
    Plot,
    Reference,
    Served,
    Split,
)
from training.progress import bars
from training.served import BEAT_S
from training.skew import DAYS

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
app.command()(benchmark)


@app.command()
def sample(json: Json = False) -> None:
    """Generate a sample shop as raw tables, whatever the source setting says."""
    from training.adapters.ingest import sample as generate

    run("sample", generate, json, settings=settings_for_sample)


@app.command()
def ingest(again: Again = False, overlap: Overlap = OVERLAP, served: Served = None, json: Json = False) -> None:
    """Read the configured source and write the canonical raw tables; of daily partitions what is new."""
    from training.adapters.ingest import ingest as read

    run("ingest", lambda settings: read(settings, again, overlap, served), json)


@app.command()
def collect(once: Once = False, everything: Everything = False, beat: Beat = BEAT_S, json: Json = False) -> None:
    """Write what serving logged to Redis Streams into daily files; goes on until SIGTERM."""
    from training.served import command

    stop = command.Stop()
    with command.until_told(stop):
        run("collect", lambda settings: command.collect(settings, once, everything, beat, stop), json, command.readable)


@app.command()
def validate(allow_low_quality: LowQuality = False, json: Json = False) -> None:
    """Check the raw tables: clean rows, a quarantine with reasons, a report."""
    from training.pipeline.run import validate as check

    run("validate", lambda settings: check(settings, allow_low_quality), json)


@app.command()
def features(new_codes: NewCodes = False, json: Json = False) -> None:
    """Compute point-in-time snapshots, examples and pairs; says how many features each group and the ranker have."""
    from feature_repo.schema import SCHEMA
    from training.pipeline.run import features as compute

    run("features", lambda settings: compute(settings, new_codes) | SCHEMA.counts(), json)


@app.command()
def hourly(json: Json = False) -> None:
    """Bring the catalogue up to date between daily runs: popularity, trending, metadata, new items."""
    from training.pipeline.run import hourly as refresh

    run("hourly", refresh, json)


@app.command()
def pipeline(allow_low_quality: LowQuality = False, json: Json = False) -> None:
    """Validate and compute features in one Spark session."""
    from training.pipeline.run import pipeline as both

    run("pipeline", lambda settings: both(settings, allow_low_quality), json)


@app.command()
def materialize(full: Full = False, json: Json = False) -> None:
    """Write the latest features to Redis: packed user rows, Feast's rows that changed, what is shown of items."""
    from feature_repo.materialize import materialize as write

    run("materialize", lambda settings: write(settings, full), json)


@app.command()
def train(json: Json = False) -> None:
    """Train a new line: towers and forest, judged on the test window, then refit through T."""
    run("train", _train, json)


@app.command()
def evaluate(json: Json = False) -> None:
    """Judge the newest line's recipe on the test window and store its metrics."""
    run("evaluate", _evaluate, json)


@app.command()
def drift(
    reference: Reference = None,
    current: Current = "latest",
    split: Split = None,
    days: Days = None,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Compare every feature and score with what a line was trained on, by PSI: from 0.1 moderate, from 0.2 drifted.

    Exit codes: 0 stable or moderate, 3 something drifted, 2 nothing can be compared (one line on stderr says why).
    """
    from training.drift.run import compare
    from training.drift.text import readable

    document = run("drift", lambda settings: compare(settings, reference, current, split, days, plot), json, readable)
    if document["status"] == "drifted":
        raise typer.Exit(3)


@app.command()
def skew(
    days: LogDays = DAYS,
    release: OfRelease = None,
    line: OfLine = None,
    fail_above: FailAbove = None,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Replay sampled requests: how serving's features and scores differ from training's; none is expected.

    Exit codes: 0 compared, 3 a column differs in a larger share of the requests than --fail-above, 2 nothing to
    compare.
    """
    from training.skew.run import skew as compare
    from training.skew.text import readable

    work = run("skew", lambda settings: compare(settings, days, release, line, fail_above, plot), json, readable)
    if work["status"] == "failed":
        raise typer.Exit(3)


@app.command()
def daily(
    day: told.Day = None,
    if_drifted: told.IfDrifted = False,
    percent: told.Percent = PERCENT,
    mode: told.Judging = "non-inferior",
    margin: told.Margin = MARGIN,
    tolerance: told.Tolerance = None,
    least: told.Least = told.USUAL.least,
    most: told.Most = told.USUAL.most,
    clean: told.Clean = told.USUAL.clean,
    allow_day: told.Allowed = None,
    json: Json = False,
) -> None:
    """A new day's data, from its source to a challenger that a share of the users sees; or why not.

    Run it again after anything: it goes on where it stopped, and does nothing when the day is done.
    """
    limits = (least, most, clean)
    run(
        "daily",
        lambda s: told.run_daily(s, day, if_drifted, percent, mode, margin, tolerance, limits, allow_day),
        json,
        told.readable,
    )


@app.command(hidden=True)
def challenger(
    stage: told.Stage,
    key: str,
    mode: told.Judging = "non-inferior",
    margin: told.Margin = MARGIN,
    tolerance: told.Tolerance = None,
    json: Json = False,
) -> None:
    """One stage of a daily run's challenger, as `daily` calls it: train its recipe, judge it, refit it as a line."""
    run("challenger", lambda settings: told.run_stage(settings, stage, key, mode, margin, tolerance), json)


@app.command()
def catalogue(json: Json = False) -> None:
    """Write docs/features.md, the catalogue of every feature, from the schema."""
    from feature_repo.catalogue import write

    run("catalogue", lambda _: {"page": str(write())}, json)


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


if __name__ == "__main__":
    app()
