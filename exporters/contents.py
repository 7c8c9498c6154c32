"""What a file of a release may hold, by its suffix: looked at before Triton sees it, without running anything of it.

A hash says that a file is the one that was built; this says that it is of the kind it claims to be. No pickle, no ONNX
data outside its file, no index of another dimension or metric.
"""

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message

from exporters.errors import ManifestError
from feature_repo.schema import RANKER_WIDTH
from model_repository.contract import EMBEDDING_WIDTH, OBJECTIVES

FAISS_HEAD = struct.Struct("<4siqqqBi")  # kind, d, ntotal, two unused, is_trained, metric: faiss/impl/index_write.cpp
INNER_PRODUCT = 0  # faiss::METRIC_INNER_PRODUCT
TREELITE_HEAD = struct.Struct("<3i")  # major, minor, patch: treelite's serialiser
TREELITE_MAJOR = 4


def require_content(path: Path) -> None:
    """Raise ManifestError when a file is not what its suffix says."""
    try:
        LOOKS[path.suffix](path)
    except (ValueError, OSError, EOFError, RecursionError, struct.error, DecodeError) as error:
        raise ManifestError(f"{path}: not a {path.suffix} file that a release may hold: {error}") from None


def index_head(path: Path) -> tuple[int, int, int]:
    """Dimension, items and metric of a FAISS index, from its first bytes. Raises ValueError."""
    with path.open("rb") as file:
        kind, dimension, items, _, _, trained, metric = FAISS_HEAD.unpack(file.read(FAISS_HEAD.size))
    if not kind.startswith(b"I") or not trained:
        raise ValueError("not a trained FAISS index")
    return dimension, items, metric


def _onnx(path: Path) -> None:
    model = onnx.load_model(path, load_external_data=False)
    if not model.graph.node or not model.graph.output:
        raise ValueError("it has no nodes or no outputs")
    outside = [tensor.name for tensor in _tensors(model) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        raise ValueError(f"tensor {outside[0]!r} has its data in another file")


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Every tensor anywhere in a message: initialisers, attributes, sub-graphs, functions, sparse ones."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for _, value in message.ListFields():
        for part in value if _repeated(value) else (value,):
            if isinstance(part, Message):
                yield from _tensors(part)


def _repeated(value: object) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes, Message))


def _npy(path: Path) -> None:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.memmap):
        raise ValueError("it is an archive")
    if array.offset + array.nbytes != path.stat().st_size:
        raise ValueError("something follows the array")


def _json(path: Path) -> None:
    json.loads(path.read_bytes())


def _faiss(path: Path) -> None:
    dimension, _, metric = index_head(path)
    if dimension != EMBEDDING_WIDTH or metric != INNER_PRODUCT:
        raise ValueError(
            f"dimension {dimension} and metric {metric}, expected {EMBEDDING_WIDTH} and {INNER_PRODUCT} (inner product)"
        )


def _treelite(path: Path) -> None:
    with path.open("rb") as file:
        major, minor, patch = TREELITE_HEAD.unpack(file.read(TREELITE_HEAD.size))
    if major != TREELITE_MAJOR:
        raise ValueError(f"Treelite checkpoint {major}.{minor}.{patch}, expected {TREELITE_MAJOR}.x")


def _lightgbm(path: Path) -> None:
    """LightGBM's text model of the contract's features and objectives, whole."""
    text = path.read_text("ascii")
    head = text.partition("\n\n")[0].splitlines()
    facts = dict(line.partition("=")[::2] for line in head[1:])
    expected = {"num_class": str(len(OBJECTIVES)), "max_feature_idx": str(RANKER_WIDTH - 1)}
    found = {name: facts.get(name) for name in expected}
    if head[:1] != ["tree"] or found != expected:
        raise ValueError(f"LightGBM model of {found}, expected {expected}")
    if "\nend of trees\n" not in text:
        raise ValueError("its trees do not end")


LOOKS: Mapping[str, Callable[[Path], Any]] = {
    ".onnx": _onnx,
    ".npy": _npy,
    ".json": _json,
    ".faiss": _faiss,
    ".tl": _treelite,
    ".txt": _lightgbm,
}
