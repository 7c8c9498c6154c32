"""Who serves: the traffic record's mirror, and the line of the champion."""

from deploy.settings import Settings
from model_repository.traffic import CANARY, CHAMPION, MIRROR, Traffic
from training.errors import DataError
from training.lines import FACTS, Line


def mirrored(settings: Settings) -> Traffic | None:
    """The traffic record; None where nothing was published yet."""
    path = settings.workspace / MIRROR
    return Traffic.model_validate_json(path.read_bytes()) if path.is_file() else None


def champion_line(settings: Settings) -> Line | None:
    """The champion's line; None where nothing was published yet. Raises DataError when it is gone."""
    number, _ = carried_lines(settings)
    if number is None:
        return None
    line = Line(number, settings.lines / str(number))
    if not (line.folder / FACTS).is_file():
        raise DataError(f"{line.folder}: the champion's line is gone; put it back, or promote a release of another")
    return line


def carried_lines(settings: Settings) -> tuple[int | None, int | None]:
    """The champion's line and the canary's."""
    traffic = mirrored(settings)
    return (traffic.line(CHAMPION), traffic.line(CANARY)) if traffic else (None, None)


def listed_release(settings: Settings, line: int) -> int | None:
    """The newest published release of a line."""
    traffic = mirrored(settings)
    return max((r.release for r in traffic.releases if r.line == line), default=None) if traffic else None


def arm_of(settings: Settings, release: int) -> str | None:
    """The arm that sends users to a release."""
    traffic = mirrored(settings)
    return next((arm.variant for arm in traffic.arms if arm.release == release), None) if traffic else None
