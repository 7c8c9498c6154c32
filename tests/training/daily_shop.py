"""A shop whose days can be run without Spark, models or Triton: every command is answered by what it would leave."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deploy.settings import Settings
from model_repository.traffic import CANARY, CHAMPION, MIRROR, Arm, Change, ServedRelease, Traffic
from tests.ports import isolated_settings
from training.adapters.publish import publish
from training.daily.champion import mirrored
from training.daily.options import Options
from training.daily.run import daily
from training.daily.runner import Done, FakeRunner
from training.lines import FACTS, LEARNT, RECIPE, VERDICT, latest, marked, new_line, write_json

PASSED = {"mode": "non-inferior", "champion_line": 1, "passed": True, "reason": "", "checks": []}
FIRST = date(2026, 1, 1)
Answer = Callable[[Sequence[str]], Done]


class KilledError(BaseException):
    """The process ends here; nothing in it can go on."""


def after(day: int) -> date:
    """The n-th day of the shop, from 1."""
    return FIRST + timedelta(days=day - 1)


@dataclass
class Shop:
    """`days`: rows by day in the source; `dirty`: of these, rows that no validation lets pass."""

    settings: Settings
    days: dict[date, int] = field(default_factory=dict)
    dirty: dict[date, int] = field(default_factory=dict)
    verdict: dict[str, Any] = field(default_factory=lambda: dict(PASSED))
    drift: str = "stable"

    def __post_init__(self) -> None:
        self.said: list[str] = []
        self.runner = FakeRunner(
            {
                "training ingest": self._ingest,
                "training validate": self._validate,
                "training features": self._features,
                "training drift": self._drift,
                "training challenger train": self._train,
                "training challenger gate": self._gate,
                "training challenger refit": self._refit,
                "exporters publish": self._publish,
                "orchestrator warm": lambda _: Done(code=0),
                "exporters canary": self._canary,
            }
        )

    def run(self, day: int, **options: Any) -> dict[str, Any]:
        """The daily run of the n-th day."""
        return daily(self.settings, Options(day=after(day), **options), self.said.append, self.runner)

    @property
    def commands(self) -> list[str]:
        """What was run since the last look, by verb."""
        verbs = [command[2] if command[1] == "challenger" else command[1] for command in self.runner.asked]
        self.runner.asked.clear()
        return verbs

    def killed_after(self, words: str) -> None:
        """The next time, the command does its work and then the run is killed before it knows."""
        works = self.runner.answers[words]

        def once(command: Sequence[str]) -> Done:
            self.runner.answers[words] = works
            works(command)
            raise KilledError(words)

        self.runner.answers[words] = once

    @property
    def traffic(self) -> Traffic:
        """The record."""
        record = mirrored(self.settings)
        assert record is not None
        return record

    def content(self, name: str) -> dict[str, bytes]:
        """Every file of a folder of the workspace."""
        folder = self.settings.workspace / name
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    def _ingest(self, command: Sequence[str]) -> Done:
        with publish(self.settings.raw) as folder:
            for day, rows in self.days.items():
                _write(folder / "events" / f"day={day}", day, rows)
        return Done(code=0)

    def _validate(self, command: Sequence[str]) -> Done:
        with publish(self.settings.tables) as folder:
            for day, rows in self.days.items():
                _write(folder / "events" / f"day-{day}", day, rows - self.dirty.get(day, 0))
        return Done(code=0)

    def _features(self, command: Sequence[str]) -> Done:
        with publish(self.settings.features) as folder:
            (folder / "newest").write_text(str(max(self.days)))
        return Done(code=0)

    def _drift(self, command: Sequence[str]) -> Done:
        columns = {"user_events_7d": {"psi": 0.3 if self.drift == "drifted" else 0.01}}
        return Done(code=3 if self.drift == "drifted" else 0, result={"status": self.drift, "features": columns})

    def _train(self, command: Sequence[str]) -> Done:
        recipe = self.settings.daily / command[3] / RECIPE
        recipe.mkdir()
        write_json(recipe / LEARNT, {"epochs": 3, "rounds": {"ctr": 9}, "as_of": str(max(self.days))})
        return Done(code=0, result={"ranking": {"auc": 0.8, "log_loss": None}})

    def _gate(self, command: Sequence[str]) -> Done:
        write_json(self.settings.daily / command[3] / VERDICT, self.verdict)
        return Done(code=0, result=self.verdict)

    def _refit(self, command: Sequence[str]) -> Done:
        if marked(self.settings.lines, command[3]) is None:
            with new_line(self.settings.lines, command[3]) as line:
                write_json(line.folder / FACTS, {"day": command[3], "trees": 3})
        return Done(code=0, result={"line": latest(self.settings.lines).number})

    def _publish(self, command: Sequence[str]) -> Done:
        before, line = mirrored(self.settings), latest(self.settings.lines).number
        number = max((r.release for r in before.releases), default=0) + 1 if before else 1
        served = ServedRelease(
            release=number, line=line, user_tower=("user_tower", line), candidates=("candidates", number),
            recommend=("recommend", 1), tower_digest="t", schema_hash="s", triton=("a:1",),
        )  # fmt: skip
        arms = before.arms if before else (Arm(variant=CHAMPION, release=number, share=1.0),)
        self._move(arms, (*(before.releases if before else ()), served))
        return Done(code=0, result={"release": number})

    def _canary(self, command: Sequence[str]) -> Done:
        share = float(command[command.index("--percent") + 1]) / 100
        champion = self.traffic.arm(CHAMPION)
        assert champion is not None
        arms = (
            Arm(variant=CHAMPION, release=champion.release, share=1 - share),
            Arm(variant=CANARY, release=int(command[2]), share=share),
        )
        self._move(arms, self.traffic.releases)
        return Done(code=0)

    def _move(self, arms: tuple[Arm, ...], releases: tuple[ServedRelease, ...]) -> None:
        before = mirrored(self.settings)
        record = Traffic(
            sequence=before.sequence + 1 if before else 1, salt="salt", arms=arms, releases=releases,
            changed=Change(action="canary", at=datetime.now(UTC)),
        )  # fmt: skip
        (self.settings.workspace / MIRROR).write_text(record.model_dump_json())


def open_shop(home: Path, days: int, rows: int = 100) -> Shop:
    """A shop with so many usual days."""
    settings = isolated_settings(home, source="files", data="data")
    settings.workspace.mkdir(parents=True, exist_ok=True)
    return Shop(settings, {after(n): rows for n in range(1, days + 1)})


def _write(folder: Path, day: date, rows: int) -> None:
    folder.mkdir(parents=True)
    moments = [datetime.combine(day, time(12), UTC)] * rows
    table = pa.table({"timestamp": pa.array(moments, pa.timestamp("us", tz="UTC"))})
    pq.write_table(table, folder / "part-0.parquet")
