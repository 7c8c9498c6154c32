"""Towers and assembler: what they compute, and that the ONNX graphs compute the same."""

from pathlib import Path

import numpy as np
import pytest
import torch

from exporters.errors import GateError
from exporters.graphs import gate_graphs
from feature_repo.schema import CONTEXT_WIDTH, ITEM_WIDTH, RANKER_WIDTH, SCHEMA, USER_WIDTH
from feature_repo.vectors import Floats
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
    figures = gate_graphs(folder, random_rows(USER_WIDTH), random_rows(ITEM_WIDTH))
    assert figures["assemble"] == 0.0
    assert max(figures.values()) < 1e-5


@pytest.mark.parametrize(("broken", "by"), [(USER_TOWER, ITEM_TOWER), (ASSEMBLE, USER_TOWER)])
def test_another_graph_in_its_place_is_refused(folder: Path, tmp_path: Path, broken: str, by: str) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes((folder / file.name).read_bytes())
    (tmp_path / broken).write_bytes((folder / by).read_bytes())
    with pytest.raises(GateError, match=broken):
        gate_graphs(tmp_path, random_rows(USER_WIDTH), random_rows(ITEM_WIDTH))


def test_changed_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_model

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes((folder / file.name).read_bytes())
    torch.manual_seed(1)
    save_model(TwoTower(), str(tmp_path / WEIGHTS))
    with pytest.raises(GateError, match=r"user_tower\.onnx: differs from torch"):
        gate_graphs(tmp_path, random_rows(USER_WIDTH), random_rows(ITEM_WIDTH))


def test_embeddings_have_unit_length() -> None:
    vectors = TwoTower().eval().user(torch.from_numpy(random_rows(USER_WIDTH)))
    assert vectors.shape == (64, EMBEDDING_WIDTH)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(64), atol=1e-5)


def test_an_items_own_copy_is_no_negative() -> None:
    """Two rows of one item: with the copy masked the loss is that of two separate batches' true negatives."""
    torch.manual_seed(0)
    towers = TwoTower().eval()
    users, items = (
        torch.from_numpy(random_rows(USER_WIDTH, 2)),
        torch.from_numpy(random_rows(ITEM_WIDTH, 1)).expand(2, -1),
    )
    assert towers.loss(users, items, torch.tensor([5, 5]), torch.zeros(2)).item() == pytest.approx(0.0, abs=1e-6)


def test_assembled_columns_stand_where_the_schema_says() -> None:
    user, item = torch.zeros(1, USER_WIDTH), torch.zeros(1, 2, ITEM_WIDTH)
    context, similarity = torch.zeros(1, CONTEXT_WIDTH), torch.tensor([[0.25, 0.5]])
    user[0, SCHEMA.offset("user_category_affinity") + 3] = 0.7
    user[0, SCHEMA.offset("user_country")] = context[0, SCHEMA.offset("context_country")] = 82
    user[0, SCHEMA.offset("user_mean_price_90d")] = 9.0
    item[0, 1, SCHEMA.offset("item_category")] = 3
    item[0, 1, SCHEMA.offset("item_price")] = 20.0
    item[0, 1, SCHEMA.offset("item_ctr_30d")] = 0.1
    matrix = Assembler()(user, context, similarity, item)
    assert matrix.shape == (2, RANKER_WIDTH)
    row = dict(zip(SCHEMA.ranker_names, matrix[1].tolist(), strict=True))
    assert row["cross_similarity"] == 0.5
    assert row["cross_category_affinity"] == pytest.approx(0.7)
    assert row["cross_affinity_ctr"] == pytest.approx(0.07)
    assert row["cross_price_ratio"] == pytest.approx(2.0)
    assert row["cross_same_country"] == 1.0
    assert row["item_price"] == 20.0
