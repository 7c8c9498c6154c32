"""The steps of one day, each of which may be run again: what it finds done already it takes up."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

from deploy.settings import Settings
from feature_repo.schema import SCHEMA
from training.adapters import files
from training.daily import kept, volume
from training.daily.champion import arm_of, champion_line, listed_release
from training.daily.errors import BadDayError, GateError, StepError
from training.daily.options import Options
from training.daily.runner import Done, Runner
from training.daily.state import FILE as STATE
from training.daily.state import Journal
from training.daily.volume import Rows, rows_by_day
from training.lines import LEARNT, RECIPE, VERDICT, latest, read_json
from training.tracking import track
from training.validation.report import PAGE

Result = dict[str, Any]
DRIFTED = 3  # exit code of `training drift`
WAIT_S = 900  # for a refresh that publishes at this moment


class StableError(Exception):
    """An early run found no drift: there is nothing to train for. The message says what it found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One day's steps."""

    settings: Settings
    options: Options
    runner: Runner
    journal: Journal

    def steps(self) -> Mapping[str, Callable[[], Result]]:
        """By name, in order."""
        return {
            "keep": self._keep,
            "ingest": partial(self._data, "ingest"),
            "volume": self._volume,
            "validate": partial(self._data, "validate"),
            "quality": self._quality,
            "features": self._features,
            "materialize": partial(self._training, "materialize"),
            "drift": self._drift,
            "train": partial(self._challenger, "train"),
            "gate": self._gate,
            "refit": partial(self._challenger, "refit"),
            "track": self._track,
            "publish": self._publish,
            "warm": self._warm,
            "canary": self._canary,
        }

    def _keep(self) -> Result:
        for left in self.settings.daily.glob(f"*/{kept.FOLDER}"):  # a day that nobody went on with
            if left.parent != self.journal.folder:
                kept.put_back(self.settings, left.parent)
                kept.drop(left.parent)
        return {"kept": kept.keep(self.settings, self.journal.folder)}

    def _data(self, verb: str) -> Result:
        """A step that refuses bad data with exit code 2."""
        done = self._run("training", verb, "--json")
        if done.code == BadDayError.exit_code:
            raise BadDayError(f"{self.options.day}: {verb}: {done.said}")
        return self._well(verb, done)

    def _volume(self) -> Result:
        options, counts, accepted = self.options, {}, self._accepted()
        for table in volume.LOGS:
            before = {date.fromisoformat(day): n for day, n in accepted.get(table, {}).items()}
            rows = Rows(table=table, now=rows_by_day(self.settings.raw / table), before=before)
            if rows.now or table == volume.LOGS[0]:
                volume.require_usual(rows, self._day(rows.now), options.limits, self._complete, options.allowed)
            counts[table] = {str(day): n for day, n in sorted(rows.now.items())}
        return {"days": counts}

    def _accepted(self) -> Result:
        """Rows by day and table as the run before found them good; an hourly ingest may have read more since."""
        others = (p.parent for p in self.settings.daily.glob(f"*/{STATE}") if p.parent != self.journal.folder)
        for folder in sorted(others, reverse=True):
            earlier = Journal.open(folder)
            if earlier.result("quality") is not None and earlier.state.outcome != "bad day":
                return dict((earlier.result("volume") or {}).get("days", {}))
        return {}

    def _quality(self) -> Result:
        shares = {}
        for table in volume.LOGS:
            raw, clean = (rows_by_day(folder / table) for folder in (self.settings.raw, self.settings.tables))
            day = self._day(raw)
            if raw.get(day):
                shares[table] = round(clean.get(day, 0) / raw[day], 4)
            self._keep_page()
            volume.require_clean(table, raw, clean, day, self.options.limits, self.options.allowed)
        return {"clean": shares}

    def _keep_page(self) -> None:
        if (self.settings.tables / PAGE).is_file():
            shutil.copyfile(self.settings.tables / PAGE, self.journal.folder / f"validation-{PAGE}")

    def _features(self) -> Result:
        result = self._training("features")
        kept.drop(self.journal.folder)
        return result

    def _drift(self) -> Result:
        champion = champion_line(self.settings)
        if champion is None:
            found: Result = {"status": "no champion to compare with"}
        else:
            plot = ("--reference", str(champion.number), "--plot", str(self.journal.folder))
            done = self._run("training", "drift", *plot, "--json")
            found = _summary(done) if done.code in (0, DRIFTED) else {"status": "unknown", "reason": done.said}
        if self.options.early and found["status"] != "drifted":
            raise StableError(f"{self.options.key}: drift is {found['status']}, nothing to train for")
        return found

    def _gate(self) -> Result:
        rules = self.options.rules
        tolerances = [word for name, value in rules.tolerances.items() for word in ("--tolerance", f"{name}={value}")]
        verdict = self._challenger("gate", "--mode", rules.mode, "--margin", str(rules.margin), *tolerances)
        if not verdict.get("passed"):
            raise GateError(f"{self.options.key}: the challenger is refused: {verdict.get('reason')}")
        return verdict

    def _track(self) -> Result:
        return {"run": track(self.settings, self.options.key, self.parameters(), self.metrics(), self._line())}

    def _publish(self) -> Result:
        """Publish the line, or take up the release that an interrupted run published of it."""
        line = self._line()
        release = listed_release(self.settings, line)
        if release is None:
            newest = latest(self.settings.lines).number
            if newest != line:
                raise StepError(f"publish: line {newest} was trained after the day's line {line}; start the day again")
            done = self._run("exporters", "publish", "--no-promote", "--wait", str(WAIT_S), "--json")
            release = self._well("publish", done)["release"]
        return {"release": release}

    def _warm(self) -> Result:
        """Embeddings for the users who will come first; without them the release is slower for an hour, not wrong."""
        release = (self.journal.result("publish") or {})["release"]
        done = self._run("orchestrator", "warm", "--release", str(release), "--json")
        return dict(done.result) if done.code == 0 else {"towers": [], "reason": done.said}

    def _canary(self) -> Result:
        """Give the release its users, unless it has them already or is the champion."""
        release = (self.journal.result("publish") or {})["release"]
        arm = arm_of(self.settings, release)
        if arm is None and self.options.percent:
            percent, reason = f"{self.options.percent:g}", f"daily run {self.options.key}"
            command = ("canary", str(release), "--percent", percent, "--reason", reason, "--json")
            self._well("canary", self._run("exporters", *command))
            arm = "canary"
        return {"release": release, "arm": arm}

    def _training(self, verb: str) -> Result:
        return self._well(verb, self._run("training", verb, "--json"))

    def _challenger(self, stage: str, *more: str) -> Result:
        return self._well(stage, self._run("training", "challenger", stage, self.options.key, *more, "--json"))

    def _run(self, *command: str) -> Done:
        verb = command[2] if command[1] == "challenger" else command[1]
        return self.runner(command, self.journal.folder / f"{verb}.log")

    def _well(self, step: str, done: Done) -> Result:
        if done.code:
            how = "was killed (out of memory?)" if done.code < 0 else f"failed with exit code {done.code}"
            raise StepError(f"{step} {how}: {done.said or 'it said nothing'} [{self.journal.folder / step}.log]")
        return dict(done.result)

    def _day(self, counts: volume.Counts) -> date:
        """The day to judge: of a source that does not grow, its newest."""
        live = self.settings.source == files.NAME
        return self.options.day if live else max(counts, default=self.options.day)

    @property
    def _complete(self) -> bool:
        return self.settings.source == files.NAME and not self.options.early

    def _line(self) -> int:
        return int((self.journal.result("refit") or {})["line"])

    def parameters(self) -> Result:
        """What the challenger was made and judged with."""
        learnt, gate = (read_json(self.journal.folder / name) for name in (f"{RECIPE}/{LEARNT}", VERDICT))
        rounds = {f"rounds_{name}": taken for name, taken in learnt["rounds"].items()}
        told = {"mode": gate["mode"], "champion_line": gate["champion_line"], "seed": self.settings.seed}
        return {**told, "as_of": learnt["as_of"], "schema": SCHEMA.hash, "epochs": learnt["epochs"], **rounds}

    def metrics(self) -> dict[str, float]:
        """What the challenger reached on the test window."""
        parts = (self.journal.result("train") or {}).values()
        figures = {name: value for part in parts if isinstance(part, dict) for name, value in part.items()}
        return {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}


def _summary(done: Done) -> Result:
    """What is kept of a drift document: the verdict and the columns that moved most."""
    columns = {**done.result.get("features", {}), **done.result.get("scores", {})}
    worst = sorted(columns.items(), key=lambda column: -column[1]["psi"])[:10]
    return {
        "status": done.result.get("status", "unknown"),
        "drifted": done.result.get("drifted"),
        "moderate": done.result.get("moderate"),
        "worst": {name: column["psi"] for name, column in worst},
    }
