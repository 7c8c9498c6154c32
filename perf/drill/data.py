"""What Redis holds of users is old, broken, from the future or not theirs; and users who have seen everything."""

import time
from dataclasses import replace

import numpy as np

from feature_repo.rows import UserRow, marker_key, pack_user_row, unpack_user_row, user_key
from feature_repo.schema import SCHEMA
from feature_repo.vectors import USER_DEFAULTS
from model_repository.contract import EMBEDDING_WIDTH
from orchestrator.release import embedding_prefix
from orchestrator.traffic import read_marker
from perf.drill.bench import Bench
from perf.drill.front import K, item_ids, level, reasons
from perf.drill.report import Drill, Report
from perf.load.answer import UNDEGRADED

HOUR, DAY = 3600, 86_400
MOST_ITEMS, MOST_EXCLUDED = 200, 500


def stale_features(bench: Bench, report: Report) -> None:
    """A row is three days old: a ranked answer that says `stale_features`; its age is in the log and the metric."""
    user = bench.users(1)[0]
    row = _row(bench, user)
    _write(bench, user, replace(row, computed_at=row.computed_at - 3 * DAY))
    before = _older(bench)
    answer = bench.front.ask(user)
    line = bench.log_line(answer["request_id"])
    report.expect((level(answer), reasons(answer)) == ("L1", ["stale_features"]), f"answer says {answer['degraded']}")
    report.expect(len(answer["items"]) == K, f"{len(answer['items'])} items")
    report.least("age_s_in_log", float(line["features_age_s"]) if line else 0.0, 3 * DAY - HOUR)
    report.least("older_than_two_days", _older(bench) - before, 1.0)


def not_finite(bench: Bench, report: Report) -> None:
    """NaN, +Inf and −Inf in a row: imputed by the schema and counted by feature; scores and order are those of the
    defaults."""
    broken, plain = bench.users(2)
    row = _row(bench, broken)
    columns = [SCHEMA.offset(name) for name in FLOATS]
    values, defaults = row.values.copy(), row.values.copy()
    values[columns] = np.resize([np.nan, np.inf, -np.inf], len(columns))
    defaults[columns] = USER_DEFAULTS[columns]
    _write(bench, broken, replace(row, values=values))
    _write(bench, plain, replace(row, values=defaults))
    counted = [_broken_values(bench, name) for name in FLOATS]
    answers = [bench.front.ask(user) for user in (broken, plain)]
    scores = [[item["score"] for item in answer["items"]] for answer in answers]
    report.expect(all(score is not None for score in scores[0]), "a score is not finite")
    report.expect(scores[0] == scores[1], "the scores are not those of the defaults")
    report.expect(item_ids(answers[0]) == item_ids(answers[1]), "the order is not that of the defaults")
    more = [_broken_values(bench, name) - before for name, before in zip(FLOATS, counted, strict=True)]
    report.least("counted_of_each_feature", min(more), 1.0)


def wrong_length(bench: Bench, report: Report) -> None:
    """Rows and lists of another length or type under a user's keys are misses: a whole answer, counted."""
    answers = []
    for content in (b"", b"\0", b"x" * 4096, pack_user_row(_row(bench, bench.users(1)[0]))[:-3]):
        user = bench.users(1)[0]
        bench.redis.set(user_key(user), content)
        bench.redis.rpush(f"shown:{user}", b"short", b"8 bytes.", b"longer than eight")
        bench.redis.set(f"answer:{user}", b'{"release":')
        answers.append(bench.front.ask(user))
    report.expect(all(len(answer["items"]) == K for answer in answers), "an answer is short")
    report.figures["levels"] = sorted({level(answer) for answer in answers})
    report.least("counted", bench.front.metric("stored_values_broken_total", kind="user_row"), 1.0)


def unknown_user(bench: Bench, report: Report) -> None:
    """Nobody knows the user: a cold-start answer, not degraded, its arm assigned and logged."""
    answers = [bench.front.ask(f"never-seen-{number}", country="DE", device="mobile") for number in range(10)]
    line = bench.log_line(answers[0]["request_id"]) or {}
    report.expect(all(level(answer) in UNDEGRADED and len(answer["items"]) == K for answer in answers), "not whole")
    report.expect(line.get("features_from") == "cold", f"logged as {line.get('features_from')}")
    report.expect(line.get("variant") == answers[0]["variant"] != "none", f"logged in arm {line.get('variant')}")
    report.figures["variant"] = answers[0]["variant"]


def all_seen(bench: Bench, report: Report) -> None:
    """A user excludes and has seen all candidates: partial answers, then an empty one; coverage says so, never 5xx."""
    user, answers = bench.users(1)[0], []
    excluded: list[str] = []
    for _ in range(5):
        answer = bench.front.ask(user, num_items=MOST_ITEMS, exclude=excluded[-MOST_EXCLUDED:])
        report.expect(not set(excluded[-MOST_EXCLUDED:]) & set(item_ids(answer)), "an excluded item was shown")
        answers.append(answer)
        excluded += item_ids(answer)
    covered = [1.0 if a["degraded"] is None else a["degraded"]["coverage"] for a in answers]
    report.figures["coverage"] = [str(one) for one in covered]
    report.expect(covered == [len(a["items"]) / MOST_ITEMS for a in answers], "coverage is not items ÷ asked for")
    report.expect(covered[-1] < 1, "the candidates never ended")


def from_the_future(bench: Bench, report: Report) -> None:
    """The clock jumped by an hour: a row computed in the future counts as new and is counted; nothing degrades."""
    user = bench.users(1)[0]
    row = _row(bench, user)
    before = bench.front.metric("feature_age_negative_total")
    _write(bench, user, replace(row, computed_at=_now(bench) + HOUR))
    answer = bench.front.ask(user)
    line = bench.log_line(answer["request_id"]) or {}
    report.expect(answer["degraded"] is None, f"answer says {answer['degraded']}")
    report.expect(line.get("features_age_s") == 0.0, f"age in the log is {line.get('features_age_s')}")
    report.least("counted", bench.front.metric("feature_age_negative_total") - before, 1.0)


def poisoned_cache(bench: Bench, report: Report) -> None:
    """Cached embeddings of another width, not finite, or of another tower: each a miss, the answer is as without."""
    plain = bench.users(1)[0]
    row, expected = _row(bench, plain), item_ids(bench.front.ask(plain))
    prefix = embedding_prefix(bench.served())
    wrong = np.full(EMBEDDING_WIDTH, np.nan, np.float32)
    stranger = np.ones(EMBEDDING_WIDTH, np.float32) * np.resize([1, -1], EMBEDDING_WIDTH)
    poison = {
        "short": (prefix, wrong[:-1].tobytes()), "long": (prefix, b"\0" * (4 * EMBEDDING_WIDTH + 4)),
        "not finite": (prefix, wrong.tobytes()), "text": (prefix, b"poison"),
        "another tower's": ("embedding:0000:0000:", stranger.astype("<f4").tobytes()),
    }  # fmt: skip
    for what, (key, content) in poison.items():
        user = bench.users(1)[0]
        _write(bench, user, row)
        bench.redis.set(key + user, content)
        answer = bench.front.ask(user)
        report.expect(item_ids(answer) == expected, f"{what}: another answer")
        report.expect(answer["degraded"] is None, f"{what}: {answer['degraded']}")
    report.least("counted", bench.front.metric("stored_values_broken_total", kind="embedding"), 4.0)


FLOATS = tuple(f.name for f in SCHEMA.group("user") if f.dtype == "float32" and f.width == 1)[:6]
DRILLS = (
    Drill(name="stale-features", fault=11, work=stale_features),
    Drill(name="features-not-finite", fault=12, work=not_finite),
    Drill(name="rows-of-another-length", fault=12, work=wrong_length),
    Drill(name="unknown-user", fault=13, work=unknown_user),
    Drill(name="all-seen", fault=15, work=all_seen),
    Drill(name="clock-jump", fault=26, work=from_the_future),
    Drill(name="poisoned-cache", fault=31, work=poisoned_cache),
)


def _row(bench: Bench, user: str) -> UserRow:
    return unpack_user_row(bench.redis.get(user_key(user)))  # type: ignore[arg-type]


def _now(bench: Bench) -> int:
    """The moment that features call now."""
    marker = read_marker(bench.redis.get(marker_key()))  # type: ignore[arg-type]
    assert marker is not None
    return int(marker.as_of + time.time() - marker.at)


def _write(bench: Bench, user: str, row: UserRow) -> None:
    bench.redis.set(user_key(user), pack_user_row(row))


def _older(bench: Bench) -> float:
    """Requests with rows older than two days so far."""
    metric, name = bench.front.metric, "feature_age_seconds_bucket"
    return metric(name, le="+Inf") - metric(name, le=str(float(2 * DAY)))


def _broken_values(bench: Bench, feature: str) -> float:
    return bench.front.metric("feature_values_imputed_total", feature=feature)
