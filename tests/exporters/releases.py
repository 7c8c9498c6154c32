"""A small release on disk that verifies: real files of every kind, a few bytes each."""

import hashlib
import json
import struct
from datetime import UTC, datetime
from pathlib import Path

import faiss
import numpy as np
from onnx import TensorProto, helper

from deploy.triton.backends.faiss.records import record_type
from exporters.manifest import FILE, IndexFacts, Manifest, Slot, file_entries
from feature_repo.schema import RANKER_WIDTH, SCHEMA
from model_repository.contract import COMPONENTS, EMBEDDING_WIDTH, OBJECTIVES

ITEMS = 3


def write_onnx(path: Path, value: float = 1.0, external: bool = False) -> None:
    """y = x + value; the constant's data may be said to lie in another file."""
    constant = helper.make_tensor("c", TensorProto.FLOAT, [1], [value])
    if external:
        constant.ClearField("float_data")
        constant.data_location = TensorProto.EXTERNAL
        constant.external_data.add(key="location", value="../../../etc/passwd")
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "c"], ["y"])], "g", ports[:1], ports[1:], [constant])
    path.write_bytes(helper.make_model(graph).SerializeToString())


def write_index(path: Path, items: int = ITEMS, dimension: int = EMBEDDING_WIDTH, l2: bool = False) -> None:
    """A flat index of ones."""
    index = (faiss.IndexFlatL2 if l2 else faiss.IndexFlatIP)(dimension)
    index.add(np.ones((items, dimension), np.float32))
    faiss.write_index(index, str(path))


def write_lightgbm(path: Path, features: int = RANKER_WIDTH, end: str = "end of trees\n") -> None:
    """A LightGBM text model as far as it is looked at."""
    head = f"tree\nversion=v4\nnum_class={len(OBJECTIVES)}\nmax_feature_idx={features - 1}\n\nTree=0\n"
    path.write_text(f"{head}\n{end}")


def write_release(folder: Path, number: int = 1, line: int = 1) -> Path:
    """Release `number` below `folder`; towers differ between lines."""
    release = folder / str(number)
    for model in COMPONENTS:
        (release / model.name).mkdir(parents=True)
    for name in ("user_tower", "item_tower", "assemble"):
        write_onnx(release / name / "model.onnx", value=float(line))
    (release / "ranker" / "checkpoint.tl").write_bytes(struct.pack("<3i", 4, 8, 1) + b"trees")
    write_lightgbm(release / "explain" / "forest.txt")
    write_index(release / "candidates" / "index.faiss")
    np.save(release / "candidates" / "keys.npy", np.arange(ITEMS))
    np.save(release / "candidates" / "records.npy", np.zeros(ITEMS, record_type(5, 5, {"f4": [0], "u1": [1]})))
    table = {"items": ITEMS, "tower_digest": digest_of(release), "schema_hash": SCHEMA.hash}
    (release / "candidates" / "table.json").write_text(json.dumps(table))
    write_manifest(release, number, line)
    return release


def write_manifest(release: Path, number: int = 1, line: int = 1, **changes: object) -> Manifest:
    """A manifest of the files as they are."""
    slots = {
        m.name: Slot(model=m.name, version=number if m.versioned_by == "release" else line,
                     files=file_entries(release / m.name))
        for m in COMPONENTS if (release / m.name).is_dir()
    }  # fmt: skip
    index = IndexFacts(kind="flat", items=ITEMS, dimension=128, candidates=1, recall=1.0, bytes_per_item=512)
    manifest = Manifest(
        release=number, line=line, slots=slots, index=index, schema_hash=SCHEMA.hash, tower_digest=digest_of(release),
        source="sample", as_of="2026-10-01", libraries={}, gates={}, metrics={},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    ).model_copy(update=changes)  # fmt: skip
    (release / FILE).write_text(manifest.model_dump_json(indent=2))
    return manifest


def digest_of(release: Path) -> str:
    """Of both towers' files."""
    towers = [(release / name / "model.onnx").read_bytes() for name in ("user_tower", "item_tower")]
    return hashlib.sha256(b"".join(towers)).hexdigest()[:16]
