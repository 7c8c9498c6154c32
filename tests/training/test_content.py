"""Titles and images become vectors once, the same way on every run; real sentence transformer."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.schema import IMAGE_WIDTH, REDUCED_WIDTH, SCHEMA, TEXT_WIDTH
from feature_repo.vectors import Floats, item_key
from training.content import basis
from training.content.cache import KEYS, TitleCache, text_keys
from training.content.encoder import encode
from training.content.write import CONTENT, write_content

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
TITLES = ["red running shoes", "crimson jogging sneakers", "cast iron frying pan", None, "", "Teekanne für Grüntee 🍵"]
IMAGES = [[1.0, 2.0, 3.0], None, [2.0, 1.0, 0.0], [1.0, 2.0], [float("nan"), 0.0, 0.0], [0.5, 0.5, 0.5]]


class Counting:
    """Stands in for the encoder where only the number of calls matters; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Floats:
        self.asked.extend(texts)
        return np.array([[len(text)] * TEXT_WIDTH for text in texts], np.float32)


def catalogue(folder: Path, titles: Sequence[str | None], images: Sequence[object] = ()) -> Path:
    images = images or [None] * len(titles)
    ids = [f"i{n}" for n in range(len(titles))]
    columns = [pa.array(ids), pa.array(titles, pa.string()), pa.array(images, pa.list_(pa.float32()))]
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns, ["item_id", "title", "image_vector"]), folder / "part-0.parquet")
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("content")
    (home / "features").mkdir()
    found = write_content(
        catalogue(home / "items", TITLES, IMAGES), home / "features" / CONTENT, home / "cache", home / "features"
    )
    assert (found.items, found.titled, found.encoded, found.pictured) == (6, 4, 4, 3)
    return home


def test_likeness_of_titles_is_likeness_of_vectors() -> None:
    shoes, sneakers, pan = encode(TITLES[:3])  # type: ignore[arg-type]
    assert np.linalg.norm(shoes) == pytest.approx(1.0, abs=1e-5)
    assert shoes @ sneakers > 0.6 > 0.3 > shoes @ pan


def test_every_item_has_its_key_and_vectors_in_the_schemas_widths(written: Path) -> None:
    table = pq.read_table(written / "features" / CONTENT).to_pylist()
    assert [row["item_key"] for row in table] == [item_key(f"i{n}") for n in range(len(TITLES))]
    for row in table:
        widths = {name: len(row[name]) for name in ("item_text", "content_text", "content_image")}
        assert widths == {"item_text": REDUCED_WIDTH, "content_text": TEXT_WIDTH, "content_image": IMAGE_WIDTH}
        assert SCHEMA.by_name["item_text"].width == REDUCED_WIDTH


def test_without_a_title_or_a_usable_image_there_are_zeros(written: Path) -> None:
    table = pq.read_table(written / "features" / CONTENT).to_pylist()
    assert [any(row["content_text"]) for row in table] == [True, True, True, False, False, True]
    assert [any(row["item_text"]) for row in table] == [True, True, True, False, False, True]
    assert [any(row["content_image"]) for row in table] == [True, False, True, False, False, True]


def test_a_second_run_encodes_nothing_and_writes_the_same(written: Path, tmp_path: Path) -> None:
    found = write_content(written / "items", tmp_path / CONTENT, written / "cache", tmp_path)
    assert found.encoded == 0
    one, other = (pq.read_table(folder / CONTENT) for folder in (written / "features", tmp_path))
    assert one.equals(other)


def test_a_known_basis_is_kept_when_the_catalogue_changes(written: Path, tmp_path: Path) -> None:
    items = catalogue(tmp_path / "items", [*TITLES[:3], "a brand new kettle"], [*IMAGES[:3], [9.0, 9.0, 9.0]])
    (tmp_path / "features").mkdir()
    write_content(items, tmp_path / "features" / CONTENT, written / "cache", written / "features")
    before, after = (
        pq.read_table(folder / "features" / CONTENT, columns=["item_id", "item_text", "content_image"]).to_pylist()
        for folder in (written, tmp_path)
    )
    assert before[:3] == after[:3]


def test_only_missing_texts_are_encoded_once_each(tmp_path: Path) -> None:
    cache, encoder = TitleCache(tmp_path), Counting()
    assert cache.fill(["a", "bb", "a"], encoder) == 2
    assert cache.fill(["bb", "ccc"], encoder) == 1
    assert sorted(encoder.asked) == ["a", "bb", "ccc"]
    assert cache.vectors(text_keys(["ccc", "a", "bb", "a"]))[:, 0].tolist() == [3.0, 1.0, 2.0, 1.0]


def test_a_shard_without_its_keys_does_not_exist(tmp_path: Path) -> None:
    cache = TitleCache(tmp_path)
    cache.fill(["a"], Counting())
    cache.fill(["bb"], Counting())
    next(tmp_path.glob(f"*{KEYS}")).unlink()
    assert cache.fill(["a", "bb"], Counting()) == 1
    assert cache.vectors(text_keys(["bb", "a"]))[:, 0].tolist() == [2.0, 1.0]


def test_a_title_that_was_never_encoded_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="1 titles are not in"):
        TitleCache(tmp_path).vectors(text_keys(["a"]))


def test_a_basis_keeps_distances_where_the_data_has_no_more_dimensions() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(200, 4)) @ rng.normal(size=(4, 30))).astype(np.float32)
    reduced = basis.fit(vectors, 8).reduce(vectors)
    wide, narrow = (np.linalg.norm(v[:, None] - v[None], axis=2) for v in (vectors, reduced))
    np.testing.assert_allclose(narrow, wide, rtol=1e-3, atol=5e-3)
    assert np.abs(reduced[:, 4:]).max() < 1e-2


@pytest.mark.parametrize(("rows", "wide"), [(0, 5), (1, 5), (3, 5), (4, 0)])
def test_a_basis_of_too_few_vectors_has_zero_axes(rows: int, wide: int) -> None:
    vectors = np.random.default_rng(1).normal(size=(rows, wide)).astype(np.float32)
    found = basis.fit(vectors, 8)
    assert found.axes.shape == (wide, 8)
    assert np.isfinite(found.axes).all()
    assert found.reduce(vectors).shape == (rows, 8)


def test_an_unusable_basis_is_fitted_again(written: Path, tmp_path: Path) -> None:
    """The first catalogue had neither titles nor images; the next one has both."""
    write_content(catalogue(tmp_path / "before", [None, None]), tmp_path / CONTENT, written / "cache", tmp_path)
    write_content(written / "items", tmp_path / CONTENT, written / "cache", tmp_path)
    assert pq.read_table(tmp_path / CONTENT).equals(pq.read_table(written / "features" / CONTENT))


def test_images_of_another_width_get_a_basis_of_their_own_and_titles_keep_theirs(written: Path, tmp_path: Path) -> None:
    before = basis.load(written / "features", "text")
    basis.save(tmp_path, text=before, image=basis.load(written / "features", "image"))
    items = catalogue(tmp_path / "items", ["an unseen kettle", "a lamp"], [[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]])
    assert write_content(items, tmp_path / CONTENT, written / "cache", tmp_path).pictured == 2
    assert np.array_equal(basis.load(tmp_path, "text").axes, before.axes)
    assert len(basis.load(tmp_path, "image").mean) == 4
