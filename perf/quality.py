"""The tables of docs/quality.md: what `python -m training benchmark NAME --save` stored, beside what was published."""

from perf.documents import Row, Table

NAMED = {"ml100k": "MovieLens 100K", "beauty-full": "Beauty, all items", "beauty-99": "Beauty, among 99"}
METRICS = {
    "ml100k": ("precision@10", "recall@10", "ndcg@10"),
    "beauty-full": ("hr@5", "ndcg@5", "hr@10", "ndcg@10", "hr@20", "ndcg@20"),
    "beauty-99": ("hr@1", "hr@5", "ndcg@5", "hr@10", "ndcg@10", "mrr"),
}
PUBLISHED = {
    "ml100k": ("TopPopular", "UserKNN", "iALS", "EASE^R", "SLIM ElasticNet", "MCRec"),
    "beauty-full": ("PopRec", "GRU4Rec", "Caser", "BERT4Rec", "SASRec", "S3-Rec"),
    "beauty-99": ("PopRec", "AutoInt", "GRU4Rec", "BERT4Rec", "SASRec", "S3-Rec"),
}
REFERENCES = {
    "ml100k": ("EASE (l2 300)",),
    "beauty-full": ("EASE (l2 300)", "item-kNN (0.7^age)"),
    "beauty-99": ("item-kNN and popularity",),
}
OURS = {
    "ml100k": ("popularity", "item-knn", "user-knn", "ease", "slim", "ials", "two-tower", "blend"),
    "beauty-full": ("popularity", "item-knn", "two-tower", "blend"),
    "beauty-99": ("popularity", "item-knn", "two-tower", "blend"),
}


def source(name: str) -> str:
    """The stored result of a protocol."""
    return f"benchmark-{name}-2-cores.json"


def _summary(name: str) -> Row:
    cells = (
        f"{NAMED[name]}: `{name}`",
        "{published_best.model} {published_best.value:.4f}",
        "{reference.model} {reference.value:.4f}",
        "{ours.two-tower:.4f} (spread {spread.two-tower:.4f})",
        "{best_ours.model} {best_ours.value:.4f}",
        "{best_ours.value - published_best.value:+.4f}",
    )
    return Row(source=source(name), cells=cells)


def _detail(name: str) -> Table:
    metrics = METRICS[name]
    paths = [
        *((f"{model} (published)", f"published[model={model}]", "") for model in PUBLISHED[name]),
        *((f"{model} (reference)", f"references[model={model}]", "") for model in REFERENCES[name]),
        *((f"**{model}**", f"figures.{model}", f"{{spread.{model}:.4f}}") for model in OURS[name]),
    ]
    rows = tuple(
        Row(source=source(name), cells=(said, *(f"{{{path}.{metric}:.4f}}" for metric in metrics), spread))
        for said, path, spread in paths
    )
    return Table(header=("model", *metrics, "spread"), rows=rows)


TABLES = {
    "protocols": Table(
        header=(
            "protocol",
            "best published",
            "simple reference",
            "our two towers",
            "our best",
            "… less the best published",
        ),
        rows=tuple(map(_summary, NAMED)),
    ),
    **{name: _detail(name) for name in NAMED},
}
