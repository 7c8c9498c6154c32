"""The tables of docs/quality.md for protocols that are ranked by features: Last.FM, Deskdrop, Ta-Feng."""

from perf.documents import Row, Table
from perf.quality import source

NAMED = {"lastfm-ctr": "Last.FM, CTR", "deskdrop": "Deskdrop, next new item", "ta-feng": "Ta-Feng, next month"}
MAIN = {"lastfm-ctr": "AUC", "deskdrop": "HR@10", "ta-feng": "NDCG@10"}
METRICS = {
    "lastfm-ctr": ("auc", "log_loss"),
    "deskdrop": ("hit_rate@10", "ndcg@10", "hit_rate@100"),
    "ta-feng": ("recall@10", "ndcg@10", "new_recall@10", "new_ndcg@10"),
}
OTHERS = {  # where the result has them, by place: a name may hold a comma; how many of the metrics are known
    "lastfm-ctr": (("published[0]", 1), ("published[1]", 1), ("references[0]", 1), ("references[1]", 2)),
    "deskdrop": (("references[0]", 2), ("references[1]", 3), ("references[2]", 2), ("references[3]", 1)),
    "ta-feng": (("references[0]", 4), ("references[1]", 2)),
}
OURS = {
    "lastfm-ctr": ("popularity", "four-features", "ranker"),
    "deskdrop": ("popularity", "popularity-7d", "popularity-1d", "decayed", "ranker"),
    "ta-feng": ("popularity", "own-frequency", "item-knn", "ranker"),
}


def _summary(name: str) -> Row:
    cells = (
        f"{NAMED[name]}: `{name}`",
        MAIN[name],
        "{reference.model} {reference.value:.4f}",
        "{ours.ranker:.4f} (spread {spread.ranker:.4f})",
    )
    return Row(source=source(name), cells=cells)


def _other(name: str, path: str, known: int) -> Row:
    kind = "published" if path.startswith("published") else "reference"
    cells = (f"{{{path}.{metric}:.4f}}" for metric in METRICS[name][:known])
    unknown = ("",) * (len(METRICS[name]) - known + 1)
    return Row(source=source(name), cells=(f"{{{path}.model}} ({kind})", *cells, *unknown))


def _ours(name: str, model: str) -> Row:
    cells = (f"{{figures.{model}.{metric}:.4f}}" for metric in METRICS[name])
    return Row(source=source(name), cells=(f"**{model}**", *cells, f"{{spread.{model}:.4f}}"))


def _detail(name: str) -> Table:
    others = (_other(name, path, known) for path, known in OTHERS[name])
    rows = (*others, *(_ours(name, model) for model in OURS[name]))
    return Table(header=("model", *METRICS[name], "spread"), rows=rows)


TABLES = {
    "feature-protocols": Table(
        header=("protocol", "metric", "simple reference", "our ranker"), rows=tuple(map(_summary, NAMED))
    ),
    **{name: _detail(name) for name in NAMED},
}
