"""The report of a validation: `report.json` for programs, `report.html` for people, `validation.prom` for alarms."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from training.adapters.source import Source
from training.validation.anomalies import Anomalies
from training.validation.profile import Profile

MINIMUM_QUALITY = 0.95
FILE, PAGE, METRICS = "report.json", "report.html", "validation.prom"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found, by table and over all."""

    source: Source
    profiles: dict[str, Profile]
    anomalies: Anomalies

    @property
    def quality(self) -> float:
        """Clean rows of all rows of all tables."""
        return sum(p.clean for p in self.profiles.values()) / max(sum(p.rows for p in self.profiles.values()), 1)

    @property
    def failed(self) -> list[str]:
        """Tables below the minimum quality."""
        return [name for name, found in self.profiles.items() if found.quality < MINIMUM_QUALITY]

    def document(self) -> dict[str, Any]:
        """What report.json holds."""
        return {
            "source": self.source.name,
            "as_of": self.source.as_of,
            "quality": self.quality,
            "tables": {name: _entry(found) for name, found in self.profiles.items()},
            "anomalies": self.anomalies.document(),
        }


def _entry(found: Profile) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("rows", "clean", "rejected", "quality", "missing")}


def write_report(report: Report, folder: Path) -> None:
    """Write the three files into the folder."""
    from training.validation.exposition import write_metrics  # drawing needs a second to load; rules do not need it
    from training.validation.page import page

    (folder / FILE).write_bytes(orjson.dumps(report.document(), option=orjson.OPT_INDENT_2))
    (folder / PAGE).write_text(page(report), encoding="utf-8")
    write_metrics(report, folder / METRICS)
