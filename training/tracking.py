"""MLflow, kept beside the workspace in sqlite: a run for each daily run, its line a version of the model `trident`,
and the aliases `champion` and `challenger`, which follow the traffic record. Nothing leaves the machine.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

MODEL = "trident"
EXPERIMENT = "daily"
CHAMPION, CHALLENGER = "champion", "challenger"
LINE = "line"  # tag of a model version
DAY, OUTCOME = "day", "outcome"  # tags of a run


def client(settings: Settings) -> "MlflowClient":
    """The client of the workspace's database; MLflow's telemetry is off from here on."""
    from mlflow import MlflowClient
    from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY
    from mlflow.telemetry import set_telemetry_client

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    MLFLOW_DISABLE_TELEMETRY.set(True)  # type: ignore[no-untyped-call]
    set_telemetry_client()  # type: ignore[no-untyped-call]
    uri = f"sqlite:///{settings.tracking.resolve()}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def track(
    settings: Settings, day: str, parameters: Mapping[str, Any], metrics: Mapping[str, float], line: int | None = None
) -> str:
    """A run of a day, its line registered once; what a killed one left open is closed. Returns the run's id."""
    tracker = client(settings)
    experiment = _experiment(settings, tracker)
    for left in tracker.search_runs([experiment], f"tags.{DAY} = '{day}' and attributes.status = 'RUNNING'"):
        tracker.set_terminated(left.info.run_id, "KILLED")
    run: str = tracker.create_run(experiment, tags={DAY: day}, run_name=day).info.run_id
    for name, value in parameters.items():
        tracker.log_param(run, name, value)
    for name, figure in metrics.items():
        tracker.log_metric(run, name, figure)
    if line is not None:
        _register(settings, tracker, line, run)
    return run


def finish(settings: Settings, run: str, outcome: str, report: Sequence[Path]) -> None:
    """Keep the report with the run, and end it."""
    tracker = client(settings)
    for file in report:
        tracker.log_artifact(run, str(file))
    tracker.set_tag(run, OUTCOME, outcome)
    tracker.set_terminated(run)


def follow(settings: Settings, champion_line: int | None, challenger_line: int | None) -> None:
    """Move the aliases to these lines; an alias whose line is None, or was never tracked, is removed.

    Does nothing where nothing was tracked yet.
    """
    if not settings.tracking.is_file():
        return
    registry = client(settings)
    versions = {found.tags.get(LINE): found.version for found in _versions(registry)}
    for alias, line in ((CHAMPION, champion_line), (CHALLENGER, challenger_line)):
        if (version := versions.get(str(line))) is not None:
            registry.set_registered_model_alias(MODEL, alias, version)
        elif versions:
            registry.delete_registered_model_alias(MODEL, alias)


def _experiment(settings: Settings, tracker: "MlflowClient") -> str:
    found = tracker.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    return str(tracker.create_experiment(EXPERIMENT, (settings.daily / "artifacts").resolve().as_uri()))


def _register(settings: Settings, registry: "MlflowClient", line: int, run: str) -> None:
    if not registry.search_registered_models(f"name = '{MODEL}'"):
        registry.create_registered_model(MODEL)
    if all(version.tags.get(LINE) != str(line) for version in _versions(registry)):
        source = (settings.lines / str(line)).resolve().as_uri()
        registry.create_model_version(MODEL, source, run, tags={LINE: str(line)})


def _versions(registry: "MlflowClient") -> "Sequence[ModelVersion]":
    found: Sequence[ModelVersion] = registry.search_model_versions(f"name = '{MODEL}'")
    return found
