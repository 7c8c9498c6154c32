"""`python -m training skew`: what serving gave the models, against what training would have, over sampled requests.

    python -m training skew                                # the log's last 7 days, every release
    python -m training skew --line 3 --fail-above 0.01     # exit code 3 when a column differs in more of the requests
    python -m training skew --release 12 --json --plot out

Run it before the next daily run: that one computes the features anew, so what is left of the moments before are the
snapshots that its examples use. Writes `skew/skew.json` and `skew/skew.prom` to the workspace.
"""  # fmt: skip

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from deploy.settings import Settings
from training.dataset import Dataset
from training.errors import DataError
from training.skew.compare import Difference, differences, not_compared
from training.skew.plot import draw
from training.skew.replay import Replay, replay, unsaid
from training.skew.requests import Requests, read
from training.skew.scores import Scored, releases_of, score_again

FOLDER, JSON, PROMETHEUS, PLOT = "skew", "skew.json", "skew.prom", "skew.png"


def skew(
    settings: Settings, days: int, release: int | None, line: int | None, fail_above: float | None, plot: Path | None
) -> dict[str, Any]:
    """The document, which is also on disk. Raises DataError when there is nothing to compare."""
    if plot and plot.exists() and not plot.is_dir():
        raise DataError(f"--plot {plot}: not a folder")
    requests, broken = read(settings.served, days, _releases(settings, release, line))
    dataset = Dataset(settings.features)
    replayed = replay(dataset, settings.served, requests)
    scored = score_again(settings, dataset, requests)
    found = differences(requests, replayed, scored)
    document = _document(requests, replayed, scored, found) | {"broken": dict(broken), "fail_above": fail_above}
    document["status"] = _status(found, fail_above)
    _write(settings.workspace / FOLDER, document, found)
    if plot:
        document["plot"] = str(draw(found, scored, f"{len(requests)} sampled requests", plot / PLOT))
    return document


def _releases(settings: Settings, release: int | None, line: int | None) -> frozenset[str] | None:
    if release is not None and line is not None:
        raise DataError(f"--release {release} and --line {line}: give one of them")
    if line is not None:
        return releases_of(settings, line)
    return None if release is None else frozenset({str(release)})


def _status(found: Sequence[Difference], fail_above: float | None) -> str:
    worst = max(one.share for one in found)
    if fail_above is not None and worst > fail_above:
        return "failed"
    return "skewed" if worst > 0 else "none"


def _document(requests: Requests, replayed: Replay, scored: Scored, found: Sequence[Difference]) -> dict[str, Any]:
    no_words = {name: int(rows.sum()) for name, rows in unsaid(requests).items() if rows.any()}
    return {
        "requests": len(requests),
        "releases": sorted(set(requests.releases.tolist())),
        "users": {
            "compared": int(replayed.known.sum()),
            "cold": int(requests.cold.sum()),
            "without_snapshot": int((~replayed.known & ~requests.cold).sum()),
            "stale": int(replayed.stale.sum()),
            "acted_since_snapshot": int(replayed.acted.sum()),
        },
        "scored": {"requests": scored.requests, "items": len(scored.served), "left_out": dict(scored.left_out)},
        "features": _figures(found, "feature"),
        "scores": _figures(found, "score"),
        "skewed": [one.name for one in found if one.differing],
        "not_compared": dict(not_compared()),
        "words_not_logged": no_words,
    }


def _figures(found: Sequence[Difference], kind: str) -> dict[str, dict[str, float]]:
    return {
        one.name: {"rows": one.rows, "differing": one.differing, "share": round(one.share, 6), "largest": one.largest}
        for one in found
        if one.kind == kind
    }


def _write(folder: Path, document: dict[str, Any], found: Sequence[Difference]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    registry = CollectorRegistry()
    share = Gauge("trident_skew_share", "requests in which serving and training differ", ["name"], registry=registry)
    for one in found:
        share.labels(one.name).set(one.share)
    Gauge("trident_skew_requests", "sampled requests compared", registry=registry).set(document["requests"])
    write_to_textfile(str(folder / PROMETHEUS), registry)
