"""Every item's key and content: `item_content`, one row per item, read by Spark, Feast and the item tower.

Titles are encoded once and cached; the ranker sees their principal components. A source's own image vectors are
reduced in the same way. An item without a title or an image has zeros.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from feature_repo.schema import IMAGE_WIDTH, REDUCED_WIDTH, TEXT_WIDTH
from feature_repo.vectors import Floats, item_key
from training.content import basis
from training.content.basis import Basis
from training.content.cache import TitleCache, text_keys
from training.content.encoder import PACKAGE, encode
from training.pipeline.clock import EPOCH

CONTENT = "item_content"
BATCH = 16_384
NO_IMAGES = basis.fit(np.empty((0, 0), np.float32), IMAGE_WIDTH)
LISTS = {"item_text": REDUCED_WIDTH, "content_text": TEXT_WIDTH, "content_image": IMAGE_WIDTH}
SCHEMA = pa.schema([
    ("item_id", pa.string()), ("item_key", pa.int64()), ("event_timestamp", pa.timestamp("us", tz="UTC")),
    *((name, pa.list_(pa.float32())) for name in LISTS),
])  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was there: items, how many have a title and a usable image vector, titles encoded in this run."""

    items: int
    titled: int
    encoded: int
    pictured: int


def write_content(items: Path, target: Path, cache: Path, features: Path) -> Written:
    """Write the content of the clean `items` table to the folder `target`; titles are cached below `cache`.

    The bases of the `features` folder are used, because lines were trained on them; where it has none that fits they
    are fitted and written.
    """
    source = ds.dataset(items, format="parquet")
    titles = TitleCache(cache / PACKAGE)
    encoded = _fill(source, titles)
    bases = _bases(source, titles, features)
    target.mkdir(exist_ok=True)
    count: Counter[str] = Counter()
    with pq.ParquetWriter(target / "part-0.parquet", SCHEMA) as writer:
        for batch in _batches(source):
            content, counts = _content(batch, titles, *bases)
            writer.write_table(content)
            count += counts
    return Written(items=count["items"], titled=count["titled"], encoded=encoded, pictured=count["pictured"])


def _batches(source: ds.Dataset) -> Iterator[pa.RecordBatch]:
    columns = ["item_id", "title", "image_vector"]
    return (batch for batch in source.to_batches(columns=columns, batch_size=BATCH) if batch.num_rows)


def _fill(source: ds.Dataset, titles: TitleCache) -> int:
    encoded = 0
    for batch in source.to_batches(columns=["title"], batch_size=64 * BATCH):
        encoded += titles.fill([title for title in batch["title"].to_pylist() if title], encode)
    return encoded


def _image_width(source: ds.Dataset) -> int:
    """The usual width of the source's image vectors; 0 without any."""
    widths: Counter[int] = Counter()
    for batch in source.to_batches(columns=["image_vector"], batch_size=BATCH):
        widths.update(batch["image_vector"].value_lengths().drop_null().to_pylist())
    widths.pop(0, None)
    return widths.most_common(1)[0][0] if widths else 0


def _bases(source: ds.Dataset, titles: TitleCache, features: Path) -> tuple[Basis, Basis]:
    """Bases of titles and images: the known ones where they fit, else fitted ones, which are known from then on."""
    wide = _image_width(source)
    text, image = _known(features, "text", TEXT_WIDTH), _known(features, "image", wide) if wide else NO_IMAGES
    if text is None or image is None:
        fitted = _fitted(source, titles, wide)
        text, image = text or fitted[0], image or fitted[1]
        basis.save(features, text=text, image=image)
    return text, image


def _known(features: Path, name: str, wide: int) -> Basis | None:
    """A known basis that makes something of vectors of this width."""
    if not (features / basis.FILE).exists():
        return None
    known = basis.load(features, name)
    return known if len(known.mean) == wide and known.axes.any() else None


def _fitted(source: ds.Dataset, titles: TitleCache, wide: int) -> tuple[Basis, Basis]:
    """Bases of the titles and the image vectors, from an even sample of the catalogue's."""
    every = max(1, source.count_rows() // basis.MOST_ROWS)
    texts, images = [np.empty((0, TEXT_WIDTH), np.float32)], [np.empty((0, wide), np.float32)]
    for batch in _batches(source):
        part = batch.take(pa.array(range(0, batch.num_rows, every)))
        texts.append(_texts(part, titles)[0])
        images.append(_images(part, wide)[0])
    return basis.fit(np.concatenate(texts), REDUCED_WIDTH), basis.fit(np.concatenate(images), IMAGE_WIDTH)


def _texts(batch: pa.RecordBatch, titles: TitleCache) -> tuple[Floats, list[int]]:
    """Vectors of the titles there are, and the rows they belong to."""
    found = [(row, title) for row, title in enumerate(batch["title"].to_pylist()) if title]
    return titles.vectors(text_keys([title for _, title in found])), [row for row, _ in found]


def _images(batch: pa.RecordBatch, wide: int) -> tuple[Floats, list[int]]:
    """The image vectors of the usual width that are finite, and the rows they belong to."""
    vectors = batch["image_vector"].to_pylist() if wide else []
    found = [(row, vector) for row, vector in enumerate(vectors) if vector is not None and len(vector) == wide]
    array = np.array([vector for _, vector in found], np.float32).reshape(len(found), wide)
    finite = np.flatnonzero(np.isfinite(array).all(axis=1))
    return array[finite], [found[i][0] for i in finite]


def _content(batch: pa.RecordBatch, titles: TitleCache, text: Basis, image: Basis) -> tuple[pa.Table, Counter[str]]:
    vectors, titled = _texts(batch, titles)
    pictures, pictured = _images(batch, len(image.mean))
    rows = {
        "item_text": _placed(text.reduce(vectors), titled, batch.num_rows),
        "content_text": _placed(vectors, titled, batch.num_rows),
        "content_image": _placed(image.reduce(pictures), pictured, batch.num_rows),
    }
    ids = batch["item_id"].to_pylist()
    moments = pa.array([EPOCH] * len(ids), SCHEMA.field("event_timestamp").type)
    columns = [pa.array(ids), pa.array([item_key(i) for i in ids]), moments, *(_lists(rows[name]) for name in LISTS)]
    table = pa.Table.from_arrays(columns, schema=SCHEMA)
    return table, Counter(items=len(ids), titled=len(titled), pictured=len(pictured))


def _placed(vectors: Floats, rows: list[int], count: int) -> Floats:
    """Vectors at their rows, zeros elsewhere, as float16 can say them: [count, width]."""
    result = np.zeros((count, vectors.shape[1]), np.float32)
    result[rows] = vectors.astype(np.float16)
    return result


def _lists(rows: Floats) -> pa.ListArray:
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(offsets, rows.ravel())
