"""Which release is measured: the newest one that carries traffic, and the line it came from."""

from deploy.settings import Settings
from exporters.manifest import Manifest, read
from exporters.publish import published
from perf.errors import PerfError
from training.lines import Line


def newest(settings: Settings) -> tuple[Manifest, Line]:
    """Manifest and line of the newest published release. Raises PerfError when there is none."""
    numbers = published(settings)
    if not numbers:
        raise PerfError(f"{settings.workspace.name} has no published release; run `make serve` first")
    manifest = read(settings.releases / str(numbers[-1]))
    return manifest, Line(manifest.line, settings.lines / str(manifest.line))
