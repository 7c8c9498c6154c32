"""The report of a sweep stands by itself and says what failed."""

import csv
from pathlib import Path

import pytest

from perf.analyze.points import Client, Load, Point, Stage
from perf.analyze.report import check_path, figure_text, write
from perf.analyze.tables import write_csv
from perf.errors import PerfError

CLIENT = Client(
    counted=1737, requests_per_second=240.4, mean_ms=4.1, p50_ms=3.8, p90_ms=5.0, p95_ms=6.1, p99_ms=8.7,
    client_send_ms=0.1, client_recv_ms=0.1, network_ms=0.2, delayed_percent=0.0,
)  # fmt: skip
STAGES = tuple(
    Stage(
        stage=name, requests=1737, failed=0, executions=1737, total_ms=1.5, queue_ms=0.1, compute_input_ms=0.03,
        compute_infer_ms=0.8, compute_output_ms=0.2,
    )
    for name in ("candidates", "assemble", "ranker")
)  # fmt: skip
POINTS = [
    Point(model="recommend_2", batch=1, load=Load(mode="concurrency", value=1), client=CLIENT, own=STAGES[0],
          stages=STAGES),
    Point(model="recommend_2", batch=1, load=Load(mode="rate", value=900.0), error="<b>stalled</b> | twice"),
]  # fmt: skip
DOCUMENT = {
    "machine": {"cpu": "a CPU", "cores": 2, "memory_gib": 23.5, "system": "Linux", "revision": "abc"},
    "perf_analyzer": "2.48.0", "seconds_per_point": 6.0, "release": 2,
    "index": {"kind": "flat", "items": 2000, "recall": 1.0, "candidates": 500},
}  # fmt: skip


def test_html_holds_its_pictures_and_escapes_reasons(tmp_path: Path) -> None:
    write(DOCUMENT, POINTS, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == 2
    assert "&lt;b&gt;stalled&lt;/b&gt;" in page
    assert "<b>" not in page
    assert "<td>8.7</td>" in page
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_markdown_has_its_pictures_beside_it_and_rows_of_one_width(tmp_path: Path) -> None:
    write(DOCUMENT, POINTS, tmp_path / "report.md")
    page = (tmp_path / "report.md").read_text()
    assert {"report-curves.png", "report-stages.png"} <= {path.name for path in tmp_path.iterdir()}
    assert "](report-stages.png)" in page
    tables = [line.replace("\\|", "") for line in page.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} == {18, 12}
    assert "<b>stalled</b> \\| twice" in page


def test_points_and_stages_as_csv(tmp_path: Path) -> None:
    points, stages = write_csv(POINTS, tmp_path / "sweep.csv")
    with points.open() as file:
        good, failed = csv.DictReader(file)
    assert (good["p99_ms"], good["queue_ms"], failed["p99_ms"], failed["error"]) == ("8.7", "0.3", "", POINTS[1].error)
    with stages.open() as file:
        assert [row["stage"] for row in csv.DictReader(file)] == ["candidates", "assemble", "ranker"]


def test_another_format_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(PerfError, match=r"a report is \.html or \.md"):
        check_path(Path("report.pdf"))


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.1234, "0.123"), (5126.4, "5,126"), (1737, "1,737"), ("rate", "rate")]
)
def test_cells_have_three_digits(value: object, text: str) -> None:
    assert figure_text(value) == text
