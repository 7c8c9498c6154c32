"""What a refresh is for: the lines that carry users or would after a rollback, and what must hold of each."""

from collections.abc import Iterator

from deploy.settings import Settings
from exporters.build import require_codes
from exporters.errors import ExportError, TrafficError
from exporters.manifest import Manifest
from exporters.rollout import rollback_target
from feature_repo.schema import SCHEMA
from model_repository.traffic import CHAMPION, ServedRelease, Traffic
from training.dataset import Dataset
from training.lines import Line


def targets(traffic: Traffic) -> list[ServedRelease]:
    """The release that stands for each line to refresh: those of the arms, then where a rollback would go.

    Raises TrafficError when two arms compare generations of one line, which a refresh would make the same; and when a
    generation was rolled back to the one before, which a refresh would undo.
    """
    found: dict[int, ServedRelease] = {}
    for release in _carried(traffic):
        if release.line in found:
            raise TrafficError(
                f"releases {found[release.line].release} and {release.release} of line {release.line} both carry "
                "traffic; promote one or roll it back first"
            )
        found[release.line] = release
        _require_newest(traffic, release)
    earlier = traffic.served(rollback_target(traffic) or 0)
    if earlier is not None:
        found.setdefault(earlier.line, earlier)
    return list(found.values())


def _require_newest(traffic: Traffic, carried: ServedRelease) -> None:
    later = [r.release for r in traffic.releases if r.line == carried.line and r.release > carried.release]
    if left := [number for number in later if number in traffic.champions]:
        raise TrafficError(
            f"line {carried.line} was rolled back from release {left[0]} to {carried.release}; `retire {left[0]}` when "
            "what was wrong with it is mended, and refreshes go on"
        )


def trained_line(settings: Settings, before: Manifest) -> Line:
    """The line of a release. Raises ExportError when the workspace's features are not for it."""
    line = Line(before.line, settings.lines / str(before.line))
    if before.source != settings.source:
        raise ExportError(
            f"release {before.release} is of source {before.source}, the workspace's is {settings.source}"
        )
    if before.schema_hash != SCHEMA.hash:
        raise ExportError(
            f"release {before.release} was built with feature schema {before.schema_hash}, this revision has "
            f"{SCHEMA.hash}; train and publish a new line"
        )
    if not line.folder.is_dir() or line.tower_digest != before.tower_digest:
        raise ExportError(f"{line.folder} is not the line that release {before.release} was built from")
    require_codes(line, Dataset(settings.features))
    return line


def _carried(traffic: Traffic) -> Iterator[ServedRelease]:
    """The releases of the arms, the champion's first."""
    for arm in sorted(traffic.arms, key=lambda arm: arm.variant != CHAMPION):
        if (release := traffic.served(arm.release)) is not None:
            yield release
