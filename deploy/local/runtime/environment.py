"""Environments of child processes: the injected settings as `TRIDENT_*`, instead of what the shell has."""

import os

from deploy.settings import PREFIX, Settings

_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")


def child_environment(settings: Settings) -> dict[str, str]:
    """The shell's variables without Python's and Trident's own, plus every setting that has a value."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX) and k not in _FOREIGN}
    return inherited | trident_variables(settings)


def trident_variables(settings: Settings) -> dict[str, str]:
    """`TRIDENT_<FIELD>` for every field; a child that reads them gets equal settings."""
    values = settings.model_dump(mode="json")
    values |= {name: str(path.resolve()) for name in ("home", "data") if (path := getattr(settings, name))}
    return {PREFIX + name.upper(): str(value) for name, value in values.items() if value is not None}
