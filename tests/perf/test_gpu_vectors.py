"""What the GPU suite searches, gates and remembers, without any device."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from feature_repo.vectors import Floats
from perf.errors import PerfError
from perf.gpu import smi
from perf.gpu.cells import Cells, read_cells
from perf.gpu.cpu import CpuDevice
from perf.gpu.device import AbsentError
from perf.gpu.lists import nlist_of, nprobes, training_sample
from perf.gpu.parity import ParityError, gate
from perf.gpu.timing import LEAST, sweep
from perf.gpu.vectors import CHUNK, Kept, Mixture, Stored, sample

SMI = (
    "NVIDIA H100 80GB HBM3, GPU-1, 570.124.06, 81559, 512, 1980, 1980, 2619, 2619, 700.00, 31, Disabled, Enabled, 5, 16"
)


def test_the_mixture_is_the_same_each_time_and_of_length_one() -> None:
    vectors = Mixture(CHUNK + 10, dimension=8)
    first, second = (list(vectors.chunks()) for _ in range(2))
    assert [(at, len(rows)) for at, rows in first] == [(0, CHUNK), (CHUNK, 10)]
    assert all((a == b).all() for (_, a), (_, b) in zip(first, second, strict=True))
    assert np.abs(np.linalg.norm(first[0][1][:100], axis=1) - 1).max() < 1e-5
    assert not np.isclose(vectors.queries(10), first[1][1]).all()


def test_vectors_of_the_mixture_lie_around_their_centres() -> None:
    rows = next(iter(Mixture(2000, dimension=128).chunks()))[1]
    nearest = (rows @ rows.T - 2 * np.eye(len(rows))).max(axis=1)  # most of 4096 centres have no second member here
    cosines = nearest[nearest > 0.5]
    assert len(cosines) > 300
    assert 0.6 < np.median(cosines) < 0.68  # two members of a centre: 0.8²


def test_stored_vectors_are_read_chunk_by_chunk(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.float16).reshape(6, 2)
    np.save(tmp_path / "items.npy", rows)
    np.save(tmp_path / "users.npy", rows[:2])
    vectors = Stored(tmp_path / "items.npy", tmp_path / "users.npy")
    assert (vectors.items, vectors.dimension, vectors.name) == (6, 2, "items.npy, queries users.npy")
    assert [(at, chunk.dtype, chunk.tolist()) for at, chunk in vectors.chunks()] == [(0, "float32", rows.tolist())]
    assert vectors.queries(3).tolist() == [[0, 1], [2, 3], [0, 1]]
    assert sample(vectors, 3).tolist() == rows[::2].tolist()


def test_vectors_are_drawn_once_and_kept(tmp_path: Path) -> None:
    drawn: list[int] = []

    class Counted(Mixture):
        def chunks(self) -> Iterator[tuple[int, Floats]]:
            drawn.append(self.items)
            return super().chunks()

    source = Counted(CHUNK + 7, dimension=2)
    expected = [(at, rows.tolist()) for at, rows in source.chunks()]
    assert [(at, rows.tolist()) for at, rows in Kept(source, tmp_path).chunks()] == expected
    assert [(at, rows.tolist()) for at, rows in Kept(source, tmp_path).chunks()] == expected
    assert len(drawn) == 2
    assert (Kept(source, tmp_path).queries(3) == source.queries(3)).all()
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "items.npy", np.zeros((3, 4)))
    np.save(tmp_path / "users.npy", np.zeros((3, 5)))
    with pytest.raises(PerfError, match=r"holds \(3, 4\).*\(3, 5\)"):
        Stored(tmp_path / "items.npy", tmp_path / "users.npy")
    (tmp_path / "text.npy").write_text("no")
    with pytest.raises(PerfError, match=r"text\.npy is not a \.npy file"):
        Stored(tmp_path / "text.npy", tmp_path / "users.npy")


@pytest.mark.parametrize(("items", "nlist"), [(1, 1), (4000, 64), (1_000_000, 4096), (10_000_000, 16384)])
def test_lists_grow_with_the_root_of_the_items(items: int, nlist: int) -> None:
    assert nlist_of(items) == nlist


def test_probes_double_up_to_what_the_device_allows() -> None:
    assert nprobes(64, 2048) == (1, 2, 4, 8, 16, 32, 64)
    assert nprobes(16384, 2048)[-2:] == (1024, 2048)
    assert nprobes(1, 2048) == (1,)
    assert len(training_sample(Mixture(4000, dimension=4), 8)) == 512


def test_the_gate_passes_what_is_near_and_says_how_near() -> None:
    expected = np.array([[0.5, np.nan, np.inf]], np.float32)
    assert gate("x", expected.copy(), expected, 0.0) == 0.0
    assert gate("x", np.array([[0.75, np.nan, np.inf]], np.float32), expected, 0.3) == 0.25


@pytest.mark.parametrize(("found", "message"), [
    ([[0.6, np.nan, np.inf]], "differs by 1.00e-01, limit 1e-06"),
    ([[0.5, 0.0, np.inf]], "NaN at 1 other places"),
    ([[0.5, np.nan, -np.inf]], "differs by inf"),
    ([[0.5, np.nan]], r"shape \(1, 2\), the reference has \(1, 3\)"),
])  # fmt: skip
def test_the_gate_refuses_another_answer(found: list[list[float]], message: str) -> None:
    with pytest.raises(ParityError, match=message):
        gate("x", np.array(found, np.float32), np.array([[0.5, np.nan, np.inf]], np.float32), 1e-6)


def test_a_sweep_keeps_every_sample_of_every_batch() -> None:
    asked: list[int] = []
    points = sweep(lambda batch: lambda number: asked.append(batch * 1000 + number), (2, 8), 0.0)
    assert [p["batch"] for p in points] == [2, 8]
    assert asked == [2000, 2001, 2002, *range(2000, 2000 + LEAST), 8000, 8001, 8002, *range(8000, 8000 + LEAST)]
    assert all(len(p["samples_ms"]) == LEAST and p["ms"] <= p["p99_ms"] for p in points)  # type: ignore[arg-type,operator]


def test_nvidia_smi_is_read_by_field() -> None:
    facts = smi.parse(SMI + "\n")
    assert facts["name"] == "NVIDIA H100 80GB HBM3"
    assert (facts["memory_mib"], facts["sm_mhz_max"], facts["power_limit_w"]) == (81559.0, 1980.0, 700.0)
    assert smi.used_mib(facts) == 512.0
    assert smi.used_mib(smi.parse(SMI.replace(" 512,", " [N/A],"))) == 0.0


def test_a_folder_belongs_to_one_device(tmp_path: Path) -> None:
    Cells(folder=tmp_path, device=CpuDevice(), seconds=9).measure("ranker", "a", dict)
    other = CpuDevice()
    other.kind = "cuda"
    with pytest.raises(PerfError, match="holds cells of device 'cpu', asked for 'cuda'"):
        Cells(folder=tmp_path, device=other, seconds=9)


def test_a_cell_is_measured_once_and_tried_again_until_it_is(tmp_path: Path) -> None:
    cells = Cells(folder=tmp_path, device=CpuDevice(), seconds=9)

    def absent() -> dict[str, object]:
        raise AbsentError("no package")

    def broken() -> dict[str, object]:
        raise MemoryError("CUDA error:\n out of memory")

    assert [cells.measure("p", "c", work) for work in (absent, broken)] == ["absent", "failed"]
    assert next(read_cells(tmp_path))["reason"] == "MemoryError: CUDA error: out of memory"
    assert cells.measure("p", "c", lambda: {"figure": 1}) == "measured"
    assert cells.measure("p", "c", broken) == "measured"
    cell = json.loads((tmp_path / "p" / "c.json").read_text())
    assert (cell["figure"], cell["status"], cell["device"]["kind"]) == (1, "measured", "cpu")
    assert "cpu" in cell["machine"]
    assert not list(tmp_path.glob("*/*.new"))


def test_no_cell_starts_after_the_time_is_over(tmp_path: Path) -> None:
    cells = Cells(folder=tmp_path, device=CpuDevice(), seconds=-1)
    assert cells.measure("p", "c", dict) == "waiting"
    assert not list(tmp_path.rglob("*.json"))


def test_a_file_that_is_no_cell_is_named(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "c.json").write_text("{}")
    with pytest.raises(PerfError, match=r"c\.json is not a cell"):
        list(read_cells(tmp_path))
