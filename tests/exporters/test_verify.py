"""A release is exactly what its manifest says, of the kinds it may hold, and of one line; or it is refused."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest
from onnx import helper, load_model

from exporters.errors import ManifestError
from exporters.manifest import FILE, release_numbers
from exporters.signing import SIGNATURE
from exporters.verify import verify
from tests.exporters.releases import digest_of, write_index, write_lightgbm, write_manifest, write_onnx, write_release


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_release(tmp_path)


def test_an_untouched_release_verifies(release: Path) -> None:
    assert verify(release).release == 1


def test_a_release_of_before_there_were_explanations_verifies(release: Path) -> None:
    shutil.rmtree(release / "explain")
    assert "explain" not in write_manifest(release).slots
    assert verify(release).release == 1


def test_a_role_that_the_manifest_lacks_is_refused(release: Path) -> None:
    document = json.loads((release / FILE).read_text())
    for slot, message in (("explain", r"\['explain'\] are not in the manifest"), ("ranker", "slots .* expected")):
        del document["slots"][slot]
        (release / FILE).write_text(json.dumps(document))
        with pytest.raises(ManifestError, match=message):
            verify(release)


def test_a_half_copied_release_is_none(release: Path) -> None:
    assert release_numbers(release.parent) == [1]
    (release / FILE).unlink()
    assert release_numbers(release.parent) == []


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def link(path: Path) -> None:
    """The same content, by a link out of the release."""
    outside = path.parents[2] / path.name
    path.rename(outside)
    path.symlink_to(outside)


Tamper = Callable[[Path], object]
TAMPERING: list[tuple[str, Tamper, str]] = [
    ("a flipped bit", lambda r: flip(r / "ranker" / "checkpoint.tl"), "ranker/checkpoint.tl differs"),
    ("a truncated tower", lambda r: truncate(r / "user_tower" / "model.onnx"), "user_tower/model.onnx has .* bytes"),
    ("a truncated index", lambda r: truncate(r / "candidates" / "index.faiss"), "candidates/index.faiss has .* bytes"),
    ("a truncated forest", lambda r: truncate(r / "ranker" / "checkpoint.tl"), "ranker/checkpoint.tl has .* bytes"),
    ("a missing file", lambda r: (r / "ranker" / "checkpoint.tl").unlink(), "ranker/checkpoint.tl is missing"),
    ("one file more", lambda r: (r / "ranker" / "x.npy").write_bytes(b""), "ranker/x.npy is not in the manifest"),
    ("a pickle more", lambda r: (r / "ranker" / "x.pkl").write_bytes(b""), "ranker/x.pkl is not in the manifest"),
    ("a folder more", lambda r: (r / "intruder").mkdir(), r"\['intruder'\] are not in the manifest"),
    ("a file for a folder", lambda r: (r / "intruder").write_text(""), r"\['intruder'\] are not in the manifest"),
    ("a linked file", lambda r: link(r / "ranker" / "checkpoint.tl"), "ranker/checkpoint.tl: .* plain files"),
    ("a linked manifest", lambda r: link(r / FILE), "not links"),
    ("a pipe", lambda r: ((r / "ranker" / "checkpoint.tl").unlink(), os.mkfifo(r / "ranker" / "checkpoint.tl")),
     "ranker/checkpoint.tl: .* plain files"),
    ("a pipe for a manifest", lambda r: ((r / FILE).unlink(), os.mkfifo(r / FILE)), "plain files, not links, pipes"),
    ("a linked signature", lambda r: (r / SIGNATURE).symlink_to("/etc/hostname"), "plain files, not links, pipes"),
    ("a folder for a signature", lambda r: (r / SIGNATURE).mkdir(), "plain files, not links, pipes or folders"),
    ("no manifest", lambda r: (r / FILE).unlink(), "not a release"),
    ("half a manifest", lambda r: truncate(r / FILE), "Invalid JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("tamper", "message"), [t[1:] for t in TAMPERING], ids=[t[0] for t in TAMPERING])
def test_tampering_is_refused(release: Path, tamper: Tamper, message: str) -> None:
    tamper(release)
    with pytest.raises(ManifestError, match=message):
        verify(release)


def test_a_linked_release_or_slot_is_refused(release: Path, tmp_path: Path) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(release)
    with pytest.raises(ManifestError, match="not links"):
        verify(alias)
    (release / "ranker").rename(tmp_path / "ranker")
    (release / "ranker").symlink_to(tmp_path / "ranker")
    with pytest.raises(ManifestError, match="ranker is missing or not a folder"):
        verify(release)


def test_a_copy_under_another_number_is_refused(release: Path, tmp_path: Path) -> None:
    release.rename(tmp_path / "2")
    with pytest.raises(ManifestError, match="its manifest is release 1's"):
        verify(tmp_path / "2")


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("files", "../../../etc/passwd"),
        ("files", "/etc/passwd"),
        ("files", "a/b.npy"),
        ("files", ".hidden"),
        ("files", "weights.pkl"),
        ("model", "../other"),
        ("model", "a/b"),
        ("model", ""),
        ("model", "user_tower"),
        ("model", "ranker_2"),
        ("model", "recommend_9"),
    ],
)
def test_a_name_that_leaves_its_folder_is_refused(release: Path, where: str, name: str) -> None:
    document = json.loads((release / FILE).read_text())
    slot = document["slots"]["ranker"]
    if where == "model":
        slot["model"] = name
    else:
        slot["files"][name] = slot["files"].pop("checkpoint.tl")
    (release / FILE).write_text(json.dumps(document))
    with pytest.raises(ManifestError, match=rf"slots\.ranker\.{where}"):
        verify(release)


def test_a_slot_that_is_no_role_is_refused(release: Path) -> None:
    document = json.loads((release / FILE).read_text())
    document["slots"]["../evil"] = document["slots"].pop("ranker")
    (release / FILE).write_text(json.dumps(document))
    with pytest.raises(ManifestError, match="slots\\.\\.\\./evil"):
        verify(release)


def pickled(path: Path) -> None:
    """An array of objects, which numpy would unpickle."""
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def pickled_field(path: Path) -> None:
    """Records with an object in each."""
    np.save(path, np.zeros(3, [("key", "<i8"), ("id", object)]), allow_pickle=True)


def archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))


CONTENTS: list[tuple[str, str, Callable[[Path], object], str]] = [
    ("external data", "user_tower/model.onnx", lambda p: write_onnx(p, external=True), "data in another file"),
    ("no ONNX", "assemble/model.onnx", lambda p: p.write_bytes(b"\x80\x04pickle"), "not a .onnx file"),
    ("half an ONNX", "assemble/model.onnx", lambda p: truncate(p), "not a .onnx file"),
    ("an empty ONNX", "assemble/model.onnx", lambda p: p.write_bytes(b""), "no nodes"),
    ("objects", "candidates/keys.npy", pickled, "not a .npy file"),
    ("objects in records", "candidates/records.npy", pickled_field, "not a .npy file"),
    ("half of the records", "candidates/records.npy", truncate, "not a .npy file"),
    ("records and more", "candidates/records.npy", lambda p: p.write_bytes(p.read_bytes() + b"\0"), "follows the"),
    ("a pickle", "candidates/keys.npy", lambda p: p.write_bytes(pickle.dumps([1])), "not a .npy file"),
    ("an archive", "candidates/keys.npy", archive, "it is an archive"),
    ("an array and more", "candidates/keys.npy", lambda p: p.write_bytes(p.read_bytes() + b"\x80\x04"), "follows the"),
    ("half an array", "candidates/keys.npy", truncate, "not a .npy file"),
    ("no index", "candidates/index.faiss", lambda p: p.write_bytes(b"nothing" * 10), "not a trained FAISS index"),
    ("a stub", "candidates/index.faiss", lambda p: p.write_bytes(b"IxFI"), "not a .faiss file"),
    ("another dimension", "candidates/index.faiss", lambda p: write_index(p, dimension=64), "dimension 64"),
    ("another metric", "candidates/index.faiss", lambda p: write_index(p, l2=True), "metric 1"),
    ("too few items", "candidates/index.faiss", lambda p: write_index(p, items=2), "items of the index is 2"),
    ("no forest", "ranker/checkpoint.tl", lambda p: p.write_bytes(b"\x80\x04\x95" * 9), "Treelite checkpoint"),
    ("no LightGBM", "explain/forest.txt", lambda p: p.write_bytes(b"\x80\x04pickle"), "not a .txt file"),
    ("other features", "explain/forest.txt", lambda p: write_lightgbm(p, features=7), "'max_feature_idx': '6'"),
    ("half a LightGBM", "explain/forest.txt", lambda p: write_lightgbm(p, end=""), "its trees do not end"),
    ("another artifact", "explain/forest.txt", lambda p: p.rename(p.with_name("x.txt")), "explain has no forest.txt"),
    ("no JSON", "candidates/table.json", lambda p: p.write_text("{"), "not a .json file"),
    ("a deep JSON", "candidates/table.json", lambda p: p.write_text("[" * 200_000), "not a .json file"),
    ("a list for a table", "candidates/table.json", lambda p: p.write_text("[]"), "missing or not an object"),
    ("no table", "candidates/table.json", lambda p: p.unlink(), "missing or not an object"),
    ("no artifact", "ranker/checkpoint.tl", lambda p: p.rename(p.with_name("x.tl")), "ranker has no checkpoint.tl"),
]


@pytest.mark.parametrize(("file", "write", "message"), [c[1:] for c in CONTENTS], ids=[c[0] for c in CONTENTS])
def test_what_a_file_may_not_hold_is_refused_though_its_hash_fits(
    release: Path, file: str, write: Callable[[Path], object], message: str
) -> None:
    """The release was built so: manifest and files agree."""
    write(release / file)
    write_manifest(release, tower_digest=digest_of(release))
    with pytest.raises(ManifestError, match=message):
        verify(release)


def test_data_outside_a_sub_graph_is_noticed(release: Path) -> None:
    path = release / "user_tower" / "model.onnx"
    write_onnx(path, external=True)
    inner = load_model(path, load_external_data=False).graph
    condition = helper.make_node("If", ["b"], ["y"], then_branch=inner, else_branch=inner)
    outer = helper.make_graph([condition], "outer", [], [inner.output[0]])
    path.write_bytes(helper.make_model(outer).SerializeToString())
    write_manifest(release)
    with pytest.raises(ManifestError, match="data in another file"):
        verify(release)


def test_a_tower_of_another_line_is_refused(release: Path) -> None:
    """Same dimensions, another space: what answers would be plausible and wrong."""
    write_onnx(release / "user_tower" / "model.onnx", value=2.0)
    write_manifest(release)
    with pytest.raises(ManifestError, match="tower digest of the item table is"):
        verify(release)
    before = json.loads((release / "candidates" / "table.json").read_text())["tower_digest"]
    write_manifest(release, tower_digest=before)
    with pytest.raises(ManifestError, match="the towers' digest is"):
        verify(release)


def test_an_index_of_this_width_passes(release: Path) -> None:
    assert faiss.read_index(str(release / "candidates" / "index.faiss")).d == 128
