"""The figures that README.md and docs/*.md show, as data: `python -m perf figures` writes them, `--check` compares.

To add a row: a `Row` with its result file in perf/results and one template a cell (`perf.fields`). To add a block: an
entry of `BLOCKS`, and its markers (`perf.documents`) where it is to stand.
"""

from perf.documents import Blocks, Row, Table, Words
from perf.drill.table import RESULT as DRILLS
from perf.drill.table import TABLE
from perf.quality import TABLES as QUALITY
from perf.quality_features import TABLES as BY_FEATURES

BENCH, DEMO, PIPELINE, SCALE, STORE, SWAP, VALIDATION = (
    f"{name}-2-cores.json"
    for name in ("bench", "demo", "pipeline", "catalogue", "store", "swap", "plan-validation")
)
MILLION = "catalogue-1m-2-cores.json"  # measured again by itself
SOURCES = {1_000_000: MILLION}  # other sizes are in SCALE
TEN = "sizes[items=10000000]"


def _growth(events: int, said: str) -> Row:
    size = f"sizes[events={events}]"
    cells = (
        said, f"{{{size}.users:,}} · {{{size}.items:,}}", f"{{{size}.validate_s:,.0f}} s",
        f"{{{size}.features_s:,.0f}} s", f"{{{size}.cpu_s:,.0f}} s", f"{{{size}.peak_gib:.2f}} GiB",
        f"{{{size}.user_snapshots:,}} · {{{size}.item_snapshots:,}}", f"{{{size}.output_gib:.2f}} GiB",
    )  # fmt: skip
    return Row(source=PIPELINE, cells=cells)


def _scale(items: int, said: str) -> Row:
    size = f"sizes[items={items}]"
    cells = (
        f"{said} items, K = 500, 3 × 100 trees × 64 leaves: recall@500 · REST up to · p50, p99 at 60 % of it",
        f"{{{size}.index.recall:.3f}} · {{{size}.knee:.0f}} requests/s · "
        f"{{{size}.p50_ms:.0f}}, {{{size}.p99_ms:.0f}} ms",
        "`python -m perf catalogue --trees 100x64`",
    )
    return Row(source=SOURCES.get(items, SCALE), cells=cells)


def _check(place: int) -> Row:
    row = f"validation[{place}]"
    cells = (
        f"{{{row}.setting}}: {{{row}.items:,}} items, K {{{row}.candidates}}, {{{row}.trees}} trees × "
        f"{{{row}.leaves:.0f}}, {{{row}.misses:.0%}} misses, {{{row}.cores}} cores",
        f"{{{row}.predicted_rps:.0f}} · {{{row}.measured_rps:.0f}}", f"{{{row}.rate_error:+.1%}}",
        f"{{{row}.predicted_p99_ms:.0f}} · {{{row}.measured_p99_ms:.0f}} ms at {{{row}.at_rps:.0f}}/s",
    )  # fmt: skip
    return Row(source=VALIDATION, cells=cells)


def _server(name: str) -> Row:
    word = name.replace("-", "_")
    cells = (
        f"`{name}`", f"{{whole_path.{word}_rps:.1f}}",
        "" if name == "trident" else f"{{whole_path.ratio_{word}:.2f}} ×",
        f"{{whole_path.cpu_ms_per_request.{name}.total:.1f}}",
        "" if name == "naive" else f"{{whole_path.open_loop.{name}.latency_ms.p99:.0f}} ms",
    )  # fmt: skip
    return Row(source=BENCH, cells=cells)


def _size(items: int) -> Row:
    size = f"sizes[items={items}]"
    cells = (
        f"{items:,}", f"{{{size}.index.kind}} {{{size}.index.codec}}, {{{size}.index.nlist:,}} lists, "
        f"{{{size}.index.nprobe}} probed", f"{{{size}.index.recall:.3f}} · {{{size}.recall_on_triton:.3f}}",
        f"{{{size}.made.seconds:.0f}} s, {{{size}.made.peak_mib / 1024:.1f}} GiB",
        f"{{{size}.release_mib / 1024:.2f}} GiB", f"{{{size}.resident_mib.candidates / 1024:.2f}} GiB",
        f"{{{size}.resident_total_mib / 1024:.2f}} GiB", f"{{{size}.saturation:.0f}} · {{{size}.knee:.0f}}",
        f"{{{size}.p50_ms:.1f}} · {{{size}.p99_ms:.1f}} ms at {{{size}.rate:.0f}}/s",
    )  # fmt: skip
    return Row(source=SOURCES.get(items, SCALE), cells=cells)


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
            "200K items, saturated: Trident · the same in one process · textbook path",
            "{whole_path.trident_rps:.0f} · {whole_path.monolith_rps:.0f} · {whole_path.naive_rps:.1f} requests/s",
            "`make bench`")),
        Row(source=BENCH, cells=(
            "… Trident ÷ textbook path · ÷ one process · ÷ one process with LightGBM",
            "{whole_path.ratio_naive:.0f} × · {whole_path.ratio_monolith:.2f} × · "
            "{whole_path.ratio_monolith_lightgbm:.2f} ×",
            "`make bench`")),
        Row(source=BENCH, cells=(
            "3 × 100 trees × 64 leaves, {ranker.rows} × {ranker.features}, one thread: served engine · LightGBM",
            "{ranker.trident:.2f} · {ranker.lightgbm:.2f} ms", "`make bench`")),
        Row(source=BENCH, cells=(
            "features of 500 items: resident table · Feast online",
            "{item_features.resident:.2f} · {item_features.feast:.0f} ms", "`make bench`")),
        Row(source=VALIDATION, cells=(
            "planner: five unseen settings predicted, median error of the rate · of the p99",
            "{median_rate_error:.1%} · {median_p99_error:.0%}", "`python -m perf plan --validate`")),
        _scale(1_000_000, "1M"),
        Row(source=MILLION, cells=(
            "… {sizes[0].steady_s:.0f} s at 60 %: p99 ÷ p50 · p50, p99 of a server that does nothing, meanwhile",
            "{sizes[0].p99_ms / sizes[0].p50_ms:.1f} · {sizes[0].control_ms.p50:.2f}, {sizes[0].control_ms.p99:.1f} ms",
            "`python -m perf catalogue --items 1000000 --trees 100x64 --steady 300`")),
        _scale(10_000_000, "10M"),
        Row(source=SCALE, cells=(
            "… 10M × 128: release made in · memory of all processes (PSS)",
            f"{{{TEN}.made.seconds / 60:.1f}} min · {{{TEN}.resident_total_mib / 1024:.1f}} GiB",
            "`python -m perf catalogue --trees 100x64`")),
        Row(source=SWAP, cells=(
            "{swaps} release swaps at half the knee, {items:,} items: failed · mixed · p99 before, during",
            "{failed} · {mixed} · {steady_p99_ms:.0f}, {swap_p99_ms:.0f} ms", "`python -m perf swap`")),
        Row(source=DRILLS, cells=(
            "faults drilled on real processes: passed", "{count_passed} of {count}", "`python -m perf drill all`")),
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
    "validation": Table(
        header=("setting", "requests/s at saturation: predicted · measured", "error", "p99: predicted · measured"),
        rows=tuple(map(_check, range(5)))),
    "bench": Table(
        header=("server", "full answers per second", "Trident ÷ it", "CPU ms per request", "p99 at 60 % of it"),
        rows=(_server("trident"), _server("monolith"), _server("monolith-lightgbm"), _server("naive"))),
    "scale": Table(
        header=("items", "index chosen", "recall@500: at build · on Triton", "made in, at most", "release",
                "`candidates`", "all processes", "saturation · knee, requests/s", "p50 · p99"),
        rows=tuple(map(_size, (100_000, 1_000_000, 10_000_000)))),
    "drills": TABLE,
    **QUALITY,
    **BY_FEATURES,
    "swap": Table(
        header=("swaps", "requests, at", "failed · mixed", "p99 before · publishing · retiring", "limit",
                "degraded before · publishing · retiring", "publish · retire took"),
        rows=(Row(source=SWAP, cells=(
            "{swaps}", "{requests:,}, {rate:.0f}/s", "{failed} · {mixed}",
            "{steady_p99_ms:.1f} · {swap_p99_ms:.1f} · {retire_p99_ms:.1f} ms", "{limit_ms:.1f} ms",
            "{degraded_percent.steady:.2f} · {degraded_percent.swap:.2f} · {degraded_percent.retire:.2f} %",
            "{publish_s:.0f} · {retire_s:.0f} s")),)),
    "slope": Words(source=PIPELINE,
                   template="{slope.seconds_per_event_ratio:.3f} (CPU {slope.cpu_per_event_ratio:.3f})"),
}  # fmt: skip
