"""MLflow, kept beside the workspace in sqlite: each line is a version of the model `trident`, and the aliases
`champion` and `challenger` follow the traffic record.
"""

from typing import TYPE_CHECKING

from deploy.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL = "trident"
CHAMPION, CHALLENGER = "champion", "challenger"
LINE = "line"  # tag of a model version


def client(settings: Settings) -> "MlflowClient":
    """The client of the workspace's database."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{settings.tracking.resolve()}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def follow(settings: Settings, champion_line: int | None, challenger_line: int | None) -> None:
    """Move the aliases to these lines; an alias whose line is None, or was never tracked, is removed.

    Does nothing where nothing was tracked yet.
    """
    if not settings.tracking.is_file():
        return
    registry = client(settings)
    versions = {found.tags.get(LINE): found.version for found in registry.search_model_versions(f"name = '{MODEL}'")}
    for alias, line in ((CHAMPION, champion_line), (CHALLENGER, challenger_line)):
        if (version := versions.get(str(line))) is not None:
            registry.set_registered_model_alias(MODEL, alias, version)
        elif versions:
            registry.delete_registered_model_alias(MODEL, alias)
