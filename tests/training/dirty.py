"""Dirties a copy of a data set with each defect, a different number of times, and looks whether validation finds them.

    python -m tests.training.dirty --source deskdrop --data <folder> [--json]

The set has defects of its own, so it is validated before and after: counts(dirty) − counts(clean) must be what was
injected, for every table and rule, and every row must lie in a clean table or in the quarantine. Exit code 1 if not.
"""  # fmt: skip

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import typer

from deploy.settings import Settings
from tests.ports import isolated_settings
from training.adapters.canonical import SCHEMAS
from training.adapters.source import read_source

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Row = dict[str, Any]
FEWEST = 3  # of a defect; each gets one more than the one before
BOTS, BOT_EVENTS = 2, 1001
NAN, INFINITE = float("nan"), float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule of one table."""

    table: str
    rule: str
    injected: int
    counted: int

    @property
    def difference(self) -> int:
        """0 when validation found exactly what was injected."""
        return self.counted - self.injected


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All rules of all tables, and the rows that are neither clean nor in quarantine."""

    findings: list[Finding]
    lost: int

    @property
    def exact(self) -> bool:
        """Whether every defect was found, as what it is, and nothing was lost."""
        return not self.lost and all(finding.difference == 0 for finding in self.findings)


def defects(as_of: datetime) -> dict[str, dict[str, list[Row]]]:
    """By table and rule: what is changed in a clean row; several changes are taken in turn."""
    second, day = timedelta(seconds=1), timedelta(days=1)
    late, old = {"timestamp": as_of + second}, {"timestamp": as_of - 730 * day - second}
    orphans = {"unknown_item_id": [{"item_id": "nowhere|ü,;"}], "unknown_user_id": [{"user_id": "никто"}]}
    moments = {"null_timestamp": [{"timestamp": None}], "future": [late], "too_old": [old]}
    return {
        "users": {
            "null_user_id": _missing("user_id"), "negative_age": [{"age": -1}], "future": [{"signup_at": as_of + day}],
            "schema": [{"age": "old"}],
        },
        "items": {
            "null_item_id": _missing("item_id"), "future": [{"created_at": as_of + second}],
            "not_finite": [{"price": NAN}, {"rating": -INFINITE}, {"image_vector": [0.0, INFINITE]}],
            "negative_price": [{"price": -0.01}], "negative_rating": [{"rating": -1.0}],
            "negative_review_count": [{"review_count": -5}], "schema": [{"created_at": "soon"}],
        },
        "events": {
            "null_user_id": _missing("user_id"), "null_item_id": _missing("item_id"), **moments, **orphans,
            "event_type": [{"event_type": "stare"}, {"event_type": None}, {"event_type": "VIEW"}],
            "not_finite": [{"price": NAN}, {"price": INFINITE}], "negative_price": [{"price": -9.5}],
            "negative_quantity": [{"quantity": -1}], "schema": [{"price": "cheap"}],
        },
        "impressions": {
            "null_request_id": _missing("request_id"), "null_user_id": _missing("user_id"),
            "null_item_id": _missing("item_id"), **moments, **orphans, "not_finite": [{"scores": [1.0, NAN]}],
            "negative_position": [{"position": -1}], "schema": [{"position": "top"}],
        },
    }  # fmt: skip


def _missing(column: str) -> list[Row]:
    return [{column: None}, {column: ""}, {column: " "}]


def compare(spark: "SparkSession", clean: Settings, home: Path) -> Outcome:
    """Validate ingested raw tables, then a dirtied copy of them below `home`."""
    from training.validation.validate import validate

    before = validate(spark, clean, allow_low_quality=True)
    dirty = clean.model_copy(update={"home": home})
    shutil.copytree(clean.raw, dirty.raw)
    injected = inject(dirty.raw, clean.tables)
    after = validate(spark, dirty, allow_low_quality=True)
    return Outcome(findings=list(_findings(injected, before, after)), lost=_lost(dirty, after))


def inject(raw: Path, tables: Path) -> dict[str, dict[str, int]]:
    """Add defective rows, made of clean ones, to raw tables that hold any; returns how many by table and rule."""
    injected: dict[str, dict[str, int]] = {}
    for name, rules in defects(read_source(raw).as_of or datetime.max).items():
        rows = ds.dataset(tables / name, format="parquet").head(FEWEST + len(rules) + 2).to_pylist()
        if rows:
            injected[name] = dict(_spoil(raw / name, name, rules, rows))
    injected["events"]["bot_users"] = _add_bots(raw, tables)
    return injected


def _spoil(folder: Path, name: str, rules: Mapping[str, list[Row]], rows: Sequence[Row]) -> Iterator[tuple[str, int]]:
    for n, (rule, changes) in enumerate({**rules, "duplicate": [{}]}.items(), FEWEST):
        broken = [
            _renamed(rows[i % len(rows)], name, rule, i) | changes[i % len(changes)] for i in range(n)
        ]  # fmt: skip
        _write(folder, f"dirty-{rule}", name, broken)
        yield rule, n


def _renamed(row: Row, name: str, rule: str, n: int) -> Row:
    """A user or an item of its own, so that it is no duplicate of the one it is made of."""
    key = {"users": "user_id", "items": "item_id"}.get(name)
    return row if key is None or rule == "duplicate" else row | {key: f"dirty|{rule}|é {n}"}


def _add_bots(raw: Path, tables: Path) -> int:
    """Users of the set that do something every second for a while, on the day before the last."""
    flagged = set(ds.dataset(tables / "anomalies" / "users", format="parquet").to_table()["user_id"].to_pylist())
    users = [u for u in ds.dataset(tables / "users").head(100)["user_id"].to_pylist() if u not in flagged][:BOTS]
    item = ds.dataset(tables / "items").head(1)["item_id"][0].as_py()
    noon = (read_source(raw).as_of or datetime.max).replace(hour=12, minute=0, second=0, microsecond=123_456)
    moments = [noon - timedelta(days=1, seconds=n) for n in range(BOT_EVENTS)]
    act = {"item_id": item, "event_type": "view"}
    _write(
        raw / "events", "dirty-bots", "events", [act | {"user_id": u, "timestamp": m} for u in users for m in moments]
    )
    return len(users)


def _write(folder: Path, name: str, table: str, rows: Sequence[Row]) -> None:
    """One more file beside the others. A column that holds text where it should not is text in this file."""
    fields = [_field(field, [row.get(field.name) for row in rows]) for field in SCHEMAS[table]]
    text = {field.name for field, wanted in zip(fields, SCHEMAS[table], strict=True) if field != wanted}
    plain = [{k: str(v) if k in text else v for k, v in row.items()} for row in rows]
    place = min(folder.rglob("*.parquet")).parent
    pq.write_table(pa.Table.from_pylist(plain, schema=pa.schema(fields)), place / f"{name}.parquet")


def _field(field: pa.Field, values: Sequence[Any]) -> pa.Field:
    return field.with_type(pa.string()) if all(isinstance(value, str) for value in values) else field


def _findings(
    injected: Mapping[str, Mapping[str, int]], before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[Finding]:
    for table, wanted in injected.items():
        found, known = (_counts(report, table) for report in (after, before))
        for rule in sorted({*wanted, *found, *known}):
            counted = found.get(rule, 0) - known.get(rule, 0)
            yield Finding(table=table, rule=rule, injected=wanted.get(rule, 0), counted=counted)


def _counts(report: Mapping[str, Any], table: str) -> dict[str, int]:
    bots = {"bot_users": report["anomalies"]["bot_users"]} if table == "events" else {}
    return report["tables"][table]["rejected"] | bots


def _lost(settings: Settings, report: Mapping[str, Any]) -> int:
    """Rows that came in, less those that are in the clean tables and the quarantine; also less those reported."""
    came = sum(_rows(settings.raw / name) for name in SCHEMAS)
    kept = sum(_rows(settings.tables / place / name) for place in ("", "quarantine") for name in SCHEMAS)
    reported = sum(entry["rows"] for entry in report["tables"].values())
    return abs(came - kept) + abs(came - reported)


def _rows(folder: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in folder.rglob("*.parquet"))


def main(
    source: Annotated[str, typer.Option(help="adapter of the data")] = "sample",
    data: Annotated[Path | None, typer.Option(help="folder with the source's files; the sample needs none")] = None,
    json: Annotated[bool, typer.Option("--json", help="the last line of stdout is one JSON document")] = False,
) -> None:
    """Dirty a copy of a data set with each defect and compare what validation counts with what was injected."""
    from training.adapters.ingest import ingest
    from training.pipeline.session import open_session

    with tempfile.TemporaryDirectory() as folder:
        clean = isolated_settings(Path(folder) / "clean", source=source, data=data)
        ingest(clean)
        with open_session(clean) as spark:
            outcome = compare(spark, clean, Path(folder) / "dirty")
    sys.stdout.write(_json(source, outcome) if json else _readable(outcome))
    raise typer.Exit(0 if outcome.exact else 1)


def _json(source: str, outcome: Outcome) -> str:
    findings = [asdict(finding) | {"difference": finding.difference} for finding in outcome.findings]
    document = {"source": source, "exact": outcome.exact, "lost": outcome.lost, "findings": findings}
    return orjson.dumps(document).decode() + "\n"


def _readable(outcome: Outcome) -> str:
    head = f"{'table':<13}{'rule':<24}{'injected':>9}{'counted':>9}{'difference':>12}\n"
    lines = [
        f"{f.table:<13}{f.rule:<24}{f.injected:>9}{f.counted:>9}{f.difference:>12}\n" for f in outcome.findings
    ]  # fmt: skip
    return head + "".join(lines) + f"rows lost: {outcome.lost}\n"


if __name__ == "__main__":
    typer.run(main)
