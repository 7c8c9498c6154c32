"""Towers and assembler: what they compute, and that the ONNX graphs compute the same."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from exporters.errors import GateError
from exporters.graphs import ASSEMBLE_TOLERANCE, gate_graphs
from feature_repo.schema import CONTENT_WIDTH, CONTEXT_WIDTH, HISTORY, ITEM_WIDTH, RANKER_WIDTH, SCHEMA, USER_WIDTH
from feature_repo.vectors import Floats, history_entry, item_key
from model_repository.contract import EMBEDDING_WIDTH
from training.lines import ASSEMBLE, ITEM_TOWER, USER_TOWER, WEIGHTS
from training.matrices import export_assembler, export_towers
from training.models.assemble import Assembler
from training.models.towers import TwoTower

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def random_rows(width: int, n: int = 64) -> Floats:
    return np.random.default_rng(width).gamma(1.0, 5.0, size=(n, width)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.torch import save_model

    torch.manual_seed(0)
    towers = TwoTower().eval()
    towers.user.encoder.fit(random_rows(USER_WIDTH))
    towers.item.encoder.fit(random_rows(ITEM_WIDTH))
    target = tmp_path_factory.mktemp("graphs")
    save_model(towers, str(target / WEIGHTS))
    export_towers(towers, target)
    export_assembler(target)
    return target


def test_graphs_equal_their_modules(folder: Path) -> None:
    figures = gate_graphs(folder, random_rows(USER_WIDTH), random_rows(ITEM_WIDTH), random_rows(CONTENT_WIDTH) / 100)
    assert figures["assemble"] <= ASSEMBLE_TOLERANCE
    assert max(figures.values()) < 1e-5


@pytest.mark.parametrize(("broken", "by"), [(USER_TOWER, ITEM_TOWER), (ASSEMBLE, USER_TOWER)])
def test_another_graph_in_its_place_is_refused(folder: Path, tmp_path: Path, broken: str, by: str) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes((folder / file.name).read_bytes())
    (tmp_path / broken).write_bytes((folder / by).read_bytes())
    with pytest.raises(GateError, match=broken):
        gate_graphs(tmp_path, random_rows(USER_WIDTH), random_rows(ITEM_WIDTH), random_rows(CONTENT_WIDTH) / 100)


def test_changed_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_model

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes((folder / file.name).read_bytes())
    torch.manual_seed(1)
    save_model(TwoTower(), str(tmp_path / WEIGHTS))
    with pytest.raises(GateError, match=r"user_tower\.onnx: differs from torch"):
        gate_graphs(tmp_path, random_rows(USER_WIDTH), random_rows(ITEM_WIDTH), random_rows(CONTENT_WIDTH) / 100)


def test_embeddings_have_unit_length() -> None:
    vectors = TwoTower().eval().user(torch.from_numpy(random_rows(USER_WIDTH)))
    assert vectors.shape == (64, EMBEDDING_WIDTH)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(64), atol=1e-5)


def test_an_items_own_copy_is_no_negative() -> None:
    """Two rows of one item: with the copy masked the loss is that of two separate batches' true negatives."""
    torch.manual_seed(0)
    towers = TwoTower().eval()
    users = torch.from_numpy(random_rows(USER_WIDTH, 2))
    item, content = (torch.from_numpy(random_rows(w, 1)).expand(2, -1) for w in (ITEM_WIDTH, CONTENT_WIDTH))
    loss = towers.loss(users, item, content, torch.tensor([5, 5]), torch.zeros(2))
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_content_moves_an_item_nobody_has_acted_on() -> None:
    torch.manual_seed(0)
    towers = TwoTower().eval()
    item = torch.zeros(2, ITEM_WIDTH)
    content = torch.zeros(2, CONTENT_WIDTH)
    content[1, 0] = 1.0
    one, other = towers.item(item, content)
    assert not torch.allclose(one, other)


@dataclass
class Request:
    """One user and two candidates, all zeros until a test sets something; `row(n)` is what the ranker sees of one."""

    user: torch.Tensor = field(default_factory=lambda: torch.zeros(1, USER_WIDTH))
    history: torch.Tensor = field(default_factory=lambda: torch.zeros(1, HISTORY, dtype=torch.int64))
    context: torch.Tensor = field(default_factory=lambda: torch.zeros(1, CONTEXT_WIDTH))
    keys: torch.Tensor = field(default_factory=lambda: torch.tensor([[item_key("i1"), item_key("i2")]]))
    similarity: torch.Tensor = field(default_factory=lambda: torch.tensor([[0.25, 0.5]]))
    item: torch.Tensor = field(default_factory=lambda: torch.zeros(1, 2, ITEM_WIDTH))

    def row(self, candidate: int = 1) -> dict[str, float]:
        matrix = Assembler()(self.user, self.history, self.context, self.keys, self.similarity, self.item)
        assert matrix.shape == (2, RANKER_WIDTH)
        return dict(zip(SCHEMA.ranker_names, matrix[candidate].tolist(), strict=True))


def test_assembled_columns_stand_where_the_schema_says() -> None:
    asked = Request()
    asked.user[0, SCHEMA.offset("user_age")] = 41.0
    asked.item[0, 1, SCHEMA.offset("item_price")] = 20.0
    asked.context[0, SCHEMA.offset("context_session_depth")] = 7.0
    row = asked.row()
    assert (row["user_age"], row["item_price"], row["context_session_depth"]) == (41.0, 20.0, 7.0)
    assert row["cross_similarity"] == 0.5


def test_crosses_of_taste() -> None:
    asked = Request()
    asked.user[0, SCHEMA.offset("user_category_affinity") + 3] = 0.7
    asked.user[0, SCHEMA.offset("user_top_category")] = 3
    asked.user[0, SCHEMA.offset("user_mean_price_90d")] = 9.0
    asked.user[0, SCHEMA.offset("user_max_price_90d")] = 39.0
    asked.user[0, SCHEMA.columns("user_text_taste")][:2] = torch.tensor([3.0, 4.0])
    asked.item[0, 1, SCHEMA.offset("item_category")] = 3
    asked.item[0, 1, SCHEMA.offset("item_price")] = 20.0
    asked.item[0, 1, SCHEMA.offset("item_ctr_30d")] = 0.1
    asked.item[0, 1, SCHEMA.columns("item_text")][:2] = torch.tensor([0.5, 0.0])
    row, other = asked.row(), asked.row(0)
    expected = {"category_affinity": 0.7, "affinity_ctr": 0.07, "price_ratio": 2.0, "price_above_max": 0.5,
                "top_category": 1.0, "similarity_ctr": 0.05, "text_affinity": 0.6}  # fmt: skip
    assert {name: row[f"cross_{name}"] for name in expected} == pytest.approx(expected)
    assert other["cross_top_category"] == other["cross_text_affinity"] == 0.0


def test_crosses_of_the_history() -> None:
    asked = Request()
    entries = [history_entry(item_key(i), grade) for i, grade in (("i9", 3), ("i2", 1), ("i2", 2))]
    asked.history[0, :3] = torch.tensor(entries)
    row, other = asked.row(1), asked.row(0)
    assert (row["cross_seen_days"], row["cross_seen_recency"], row["cross_seen_grade"]) == (2.0, 0.5, 2.0)
    assert (other["cross_seen_days"], other["cross_seen_recency"], other["cross_seen_grade"]) == (0.0, 0.0, 0.0)


def test_padding_of_a_history_is_no_item() -> None:
    """A key whose high bits are all zero would equal the padding; it must not be seen by everybody."""
    asked = Request(keys=torch.tensor([[1, 3]]))
    assert [asked.row(n)["cross_seen_days"] for n in (0, 1)] == [0.0, 0.0]


def test_crosses_of_the_request() -> None:
    asked = Request()
    asked.user[0, SCHEMA.offset("user_country")] = asked.context[0, SCHEMA.offset("context_country")] = 82
    asked.user[0, SCHEMA.offset("user_language")] = 5
    asked.user[0, SCHEMA.offset("user_segment")] = 2
    asked.user[0, SCHEMA.offset("user_daypart_share") + 3] = 0.6
    asked.user[0, SCHEMA.offset("user_device_share") + 1] = 0.9
    asked.item[0, 1, SCHEMA.offset("item_daypart_share") + 3] = 0.4
    asked.context[0, SCHEMA.offset("context_daypart")] = 3
    asked.context[0, SCHEMA.offset("context_device")] = 1
    asked.context[0, SCHEMA.offset("context_weekend")] = 1
    expected = {"same_country": 1.0, "same_language": 0.0, "daypart_user": 0.6, "daypart_item": 0.4,
                "device_user": 0.9, "segment_daypart": 11.0, "device_weekend": 3.0}  # fmt: skip
    row = asked.row()
    assert {name: row[f"cross_{name}"] for name in expected} == pytest.approx(expected)
