"""The figures that README.md and docs/*.md show, as data: `python -m perf figures` writes them, `--check` compares.

To add a row: a `Row` with its result file in perf/results and one template a cell (`perf.fields`). To add a block: an
entry of `BLOCKS`, and its markers (`perf.documents`) where it is to stand.
"""

from perf.documents import Blocks, Row, Table, Words

BENCH, DEMO, PIPELINE, STORE = (f"{name}-2-cores.json" for name in ("bench", "demo", "pipeline", "store"))


def _growth(events: int, said: str) -> Row:
    size = f"sizes[events={events}]"
    cells = (
        said, f"{{{size}.users:,}} · {{{size}.items:,}}", f"{{{size}.validate_s:,.0f}} s",
        f"{{{size}.features_s:,.0f}} s", f"{{{size}.cpu_s:,.0f}} s", f"{{{size}.peak_gib:.2f}} GiB",
        f"{{{size}.user_snapshots:,}} · {{{size}.item_snapshots:,}}", f"{{{size}.output_gib:.2f}} GiB",
    )  # fmt: skip
    return Row(source=PIPELINE, cells=cells)


def _store(store: str) -> Row:
    row = f"store[{store}]"
    cells = (
        f"{{{row}.store}}, {{{row}.users:,}} users",
        f"{{{row}.bytes_per_user:,}}",
        f"{{{row}.users_per_second:,}}",
    )
    return Row(source=STORE, cells=cells)


MEASURED = Table(
    header=("what", "figure", "command"),
    rows=(
        Row(source=DEMO, cells=("a set-up clone to recommendations, from raw data", "{wall_s:.0f} s", "`make demo`")),
        Row(source=DEMO, cells=("… of it validation and 145 ranker features, point in time", "{steps_s.pipeline:.0f} s",
                                "`make demo`")),
        Row(source=PIPELINE, cells=(
            "validation and features of 50M events · time per event against 10M",
            "{sizes[events=50000000].validate_s + sizes[events=50000000].features_s / 60:.0f} min, "
            "{sizes[events=50000000].peak_gib:.1f} GiB · {slope.seconds_per_event_ratio:.2f}",
            "`python -m perf pipeline`")),
        Row(source=STORE, cells=(
            "a user in Redis, packed · by Feast",
            "{store[0].bytes_per_user:,} · {store[1].bytes_per_user:,} bytes",
            "`python -m perf store`")),
        Row(source=DEMO, cells=(
            "sample: recall@100 of the towers · popularity · oracle",
            "{retrieval.recall_at_100:.3f} · {retrieval.popularity_recall_at_100:.3f} · "
            "{retrieval.oracle_recall_at_100:.3f}",
            "`make demo`")),
        Row(source=DEMO, cells=(
            "sample: NDCG@10 of the ranker · popularity; AUC of CTR",
            "{ranking.ndcg_at_10:.3f} · {ranking.popularity_ndcg_at_10:.3f}; {ranking.auc:.3f}",
            "`make demo`")),
        Row(source=BENCH, cells=(
            "forest, {ranker[0].rows} × {ranker[0].features}, {ranker[0].trees} trees, one thread: served engine · "
            "LightGBM",
            "{ranker[0].fil_backend_ms:.2f} · {ranker[0].lightgbm_ms:.2f} ms, {ranker[0].speedup:.1f} ×",
            "`make bench`")),
        Row(source=BENCH, cells=("… largest difference of their scores", "{ranker[0].max_difference:.0e}",
                                 "`make bench`")),
        Row(source=BENCH, cells=(
            "`recommend_1` (search, assemble, rank 500) on Triton, 1 client: p50 · p99",
            "{models[model=recommend_1,concurrency=1].p50_ms:.1f} · "
            "{models[model=recommend_1,concurrency=1].p99_ms:.1f} ms",
            "`make bench`")),
        Row(source=BENCH, cells=(
            "`recommend_1` on Triton, 4 clients",
            "{models[model=recommend_1,concurrency=4].requests_per_second:.0f} requests/s",
            "`make bench`")),
        Row(source=BENCH, cells=(
            "REST, 1 client: p50 · p99",
            "{rest[clients=1].latency_ms.p50:.1f} · {rest[clients=1].latency_ms.p99:.1f} ms",
            "`make bench`")),
        Row(source=BENCH, cells=(
            "REST, 16 clients",
            "{rest[clients=16].requests_per_second:.0f} requests/s, {rest[clients=16].statuses.200:,} of "
            "{rest[clients=16].requests:,} answered 200, "
            "{rest[clients=16].degraded.none / rest[clients=16].requests:.2%} at full quality",
            "`make bench`")),
    ),
)  # fmt: skip
BLOCKS: Blocks = {
    "measured": MEASURED,
    "store": Table(header=("", "bytes per user", "users written per second"),
                   rows=(_store("store=packed rows"), _store("store=Feast rows"))),
    "growth": Table(
        header=("events (and impressions)", "users · items", "validate", "features", "CPU", "peak memory",
                "user · item snapshots", "written"),
        rows=(_growth(1_000_000, "1M"), _growth(10_000_000, "10M"), _growth(50_000_000, "50M"))),
    "slope": Words(source=PIPELINE,
                   template="{slope.seconds_per_event_ratio:.3f} (CPU {slope.cpu_per_event_ratio:.3f})"),
}  # fmt: skip
