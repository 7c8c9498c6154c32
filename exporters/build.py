"""Building release N: a trained line and the catalogue as of now, gated, hashed, in place with one rename."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from deploy.settings import Settings
from exporters.embeddings import Embeddings
from exporters.errors import ExportError
from exporters.files import sync_tree
from exporters.forest import edge_rows, export_forest, gate_forest
from exporters.generation import Choices, Chunk, Source, Users, write_generation
from exporters.graphs import gate_graphs
from exporters.index import LARGEST_FLAT_QUANTIZER
from exporters.manifest import FILE, IndexFacts, Manifest, Slot, file_entries, release_numbers
from exporters.names import model_names
from exporters.overlay import overlay_position
from exporters.queries import write_ranker_rows
from exporters.signing import sign
from exporters.table import ItemTable, item_table
from exporters.tune import MOST_LISTS
from feature_repo.schema import SCHEMA
from feature_repo.store import items_as_of, read_items
from feature_repo.vectors import Floats, Ints
from model_repository.contract import ASSEMBLE, CANDIDATE_SEARCH, COMPONENTS, EXPLAIN, ITEM_TOWER, RANKER, USER_TOWER
from training.dataset import Dataset
from training.lines import ASSEMBLE as ASSEMBLE_FILE
from training.lines import FOREST, Line
from training.lines import ITEM_TOWER as ITEM_TOWER_FILE
from training.lines import USER_TOWER as USER_TOWER_FILE
from training.machine import git_revision
from training.matrices import Graphs

Report = Callable[[str], None]
GRAPHS = {USER_TOWER.name: USER_TOWER_FILE, ITEM_TOWER.name: ITEM_TOWER_FILE, ASSEMBLE.name: ASSEMBLE_FILE}
GATE_ROWS = 2000
QUERIES = 256


def build_release(settings: Settings, line: Line, report: Report, catalogue: Source | None = None) -> Path:
    """Build the next release of `line` in a draft folder and rename it into place. Raises ExportError.

    The catalogue is the workspace's of this moment, unless another one is given.
    """
    return build_next(settings, lambda number, draft: _fill(settings, line, number, draft, report, catalogue))


def build_next(settings: Settings, fill: Callable[[int, Path], Manifest]) -> Path:
    """The next release, which `fill` writes into a draft folder by number; in place with one rename."""
    settings.releases.mkdir(parents=True, exist_ok=True)
    clean_drafts(settings.releases)
    number = max(release_numbers(settings.releases), default=0) + 1
    draft = Path(tempfile.mkdtemp(prefix=".release-", dir=settings.releases))
    try:
        manifest = fill(number, draft)
        (draft / FILE).write_text(manifest.model_dump_json(indent=2) + "\n")
        if settings.signing_key is not None:
            sign(draft, settings.signing_key)
        draft.chmod(0o755)
        sync_tree(draft)
        finished = draft.rename(settings.releases / str(number))
        sync_tree(settings.releases, below=False)
        return finished
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def clean_drafts(folder: Path) -> None:
    """Remove what an interrupted build left behind."""
    for draft in folder.glob(".release-*"):
        shutil.rmtree(draft)


def load_catalogue(settings: Settings) -> tuple[ItemTable, Floats]:
    """The catalogue of this moment by Feast's offline read: the item table, and the contents [n, CONTENT_WIDTH]."""
    ids, features, content = read_items(settings)
    items = pq.read_table(settings.tables / "items").to_pandas()
    return item_table(ids, features, items, pd.Timestamp(items_as_of(settings))), content


def index_choices(settings: Settings) -> Choices:
    """What the settings say of the index."""
    kind = None if settings.index == "auto" else settings.index
    memory = settings.index_memory_gib * 2**30
    lists = LARGEST_FLAT_QUANTIZER if settings.profile == "gpu" else MOST_LISTS  # GPU FAISS has no graph to find them
    return Choices(kind=kind, memory_bytes=memory, candidates=settings.candidates, most_lists=lists)


def line_artifacts(line: Line, dataset: Dataset, draft: Path, report: Report) -> dict[str, float]:
    """Copy the graphs, convert the forest, gate all four; returns the gates' figures."""
    report("parity gates: graphs")
    rng = np.random.default_rng(0)
    users, items = _sample(dataset.users.rows, rng), _choice(len(dataset.items.rows), rng)
    gates = gate_graphs(line.folder, users, dataset.items.rows[items], dataset.content_of(items))
    for slot, file in GRAPHS.items():
        (draft / slot).mkdir()
        shutil.copyfile(line.folder / file, draft / slot / "model.onnx")
    report("parity gate: forest")
    (draft / RANKER.name).mkdir()
    checkpoint = draft / RANKER.name / RANKER.artifact
    export_forest(line.folder / FOREST, checkpoint)
    (draft / EXPLAIN.name).mkdir()
    shutil.copyfile(line.folder / FOREST, draft / EXPLAIN.name / EXPLAIN.artifact)
    booster = lgb.Booster(model_file=str(line.folder / FOREST))
    rows = gate_matrix(dataset, line, booster)
    write_ranker_rows(checkpoint.parent, rows)
    return gates | {"ranker": gate_forest(booster, checkpoint, rows)}


def gate_matrix(dataset: Dataset, line: Line, booster: lgb.Booster) -> Floats:
    """Ranker rows to compare engines on: real ones from the test window and edge rows."""
    examples = dataset.examples("test")
    matrix = Graphs(line.folder).matrix(dataset, examples)
    return edge_rows(booster, _sample(matrix, np.random.default_rng(0)))


def some_users(dataset: Dataset, line: Line, count: int = QUERIES) -> Users:
    """Users of the workspace to measure an index with, and to ask Triton as."""
    chosen = _choice(len(dataset.users.rows), np.random.default_rng(1), count)
    rows = dataset.users.rows[chosen]
    return Users(rows=rows, histories=dataset.histories[chosen], embeddings=Graphs(line.folder).embed_users(rows))


class TrainedCatalogue:
    """The workspace's catalogue with its vectors [n, d] by a line's item tower; one chunk."""

    queries: Floats | None = None

    def __init__(self, settings: Settings, table: ItemTable, vectors: Floats) -> None:
        self._table, self._vectors = table, vectors
        self.items, self.name = len(table), settings.source

    def chunks(self) -> Iterator[Chunk]:
        """All of it."""
        yield self._table, self._vectors


def require_codes(line: Line, dataset: Dataset) -> None:
    """Raise ExportError when the features have other codes than those the line was trained on."""
    if not dataset.keeps_codes_of(line.facts):
        raise ExportError(
            f"line {line.number} was trained with other codes for categories, brands or prices than the features have "
            "now; run `python -m training train` first"
        )


def add_generation(
    draft: Path, source: Source, users: Users, choices: Choices, line: Line, report: Report
) -> IndexFacts:
    """Write the generation of `source` into a release's draft; returns what is known of its index."""
    folder = draft / CANDIDATE_SEARCH.name
    folder.mkdir()
    return write_generation(folder, source, users, choices, line.tower_digest, report)


def _fill(
    settings: Settings, line: Line, number: int, draft: Path, report: Report, catalogue: Source | None
) -> Manifest:
    dataset = Dataset(settings.features)
    require_codes(line, dataset)
    gates = line_artifacts(line, dataset, draft, report)
    report("item table")
    position = overlay_position(settings, report)
    source = catalogue or _encoded_by(settings, line)
    facts = add_generation(draft, source, some_users(dataset, line), index_choices(settings), line, report)
    versions = {m.name: line.number if m.versioned_by == "line" else number for m in COMPONENTS}
    names = model_names(settings)
    return Manifest(
        release=number,
        line=line.number,
        schema_hash=SCHEMA.hash,
        tower_digest=line.tower_digest,
        index=facts,
        slots={n: Slot(model=names[n], version=v, files=file_entries(draft / n)) for n, v in versions.items()},
        source=source.name,
        as_of=items_as_of(settings).isoformat(),
        libraries=line.facts["libraries"],
        gates=gates,
        parent=number - 1 or None,
        overlay_position=position,
        metrics=line.metrics,
        git_revision=git_revision(),
        created_at=datetime.now(UTC),
    )


def _encoded_by(settings: Settings, line: Line) -> TrainedCatalogue:
    """The catalogue of this moment by the line's own graph; the line's refreshes know the vectors then."""
    table, content = load_catalogue(settings)
    known = Embeddings(settings.embeddings / line.tower_digest, table.keys, table.features, content)
    return TrainedCatalogue(settings, table, known.vectors(Graphs(line.folder).embed_items))


def _sample(rows: Floats, rng: np.random.Generator, size: int = GATE_ROWS) -> Floats:
    return rows[_choice(len(rows), rng, size)]


def _choice(rows: int, rng: np.random.Generator, size: int = GATE_ROWS) -> Ints:
    return rng.choice(rows, min(size, rows), replace=False)
