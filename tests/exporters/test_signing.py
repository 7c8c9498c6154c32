"""Who holds the key built it: another key, another manifest, another release's signature are refused."""

import shutil
import stat
from pathlib import Path

import pytest

from exporters.errors import ExportError, ManifestError
from exporters.manifest import FILE
from exporters.signing import SIGNATURE, generate_keys, require_signature, sign
from exporters.verify import verify
from tests.exporters.releases import write_release


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return generate_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def release(tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    """Signed as a draft, then renamed, as builds are."""
    draft = write_release(tmp_path).rename(tmp_path / ".draft")
    sign(draft, keys[0])
    return draft.rename(tmp_path / "1")


def test_a_signed_release_passes(release: Path, keys: tuple[Path, Path]) -> None:
    require_signature(release, keys[1])
    assert verify(release).release == 1


def test_the_private_key_is_its_owners_alone(keys: tuple[Path, Path]) -> None:
    assert stat.S_IMODE(keys[0].stat().st_mode) == 0o600
    with pytest.raises(ExportError, match="holds a key already"):
        generate_keys(keys[0].parent)


def test_an_unsigned_release_is_refused(release: Path, keys: tuple[Path, Path]) -> None:
    (release / SIGNATURE).unlink()
    with pytest.raises(ManifestError, match="release 1 is not signed; build it with TRIDENT_SIGNING_KEY"):
        require_signature(release, keys[1])


def test_a_changed_manifest_is_refused(release: Path, keys: tuple[Path, Path]) -> None:
    path = release / FILE
    path.write_text(path.read_text().replace('"line": 1', '"line": 2'))
    with pytest.raises(ManifestError, match="its signature does not fit"):
        require_signature(release, keys[1])


def test_another_key_is_refused(release: Path, tmp_path: Path) -> None:
    _, stranger = generate_keys(tmp_path / "stranger")
    with pytest.raises(ManifestError, match="its signature does not fit"):
        require_signature(release, stranger)


def test_another_releases_signature_is_refused(release: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    other = write_release(tmp_path / "other", 2, line=2)
    sign(other, keys[0])
    shutil.copyfile(other / SIGNATURE, release / SIGNATURE)
    with pytest.raises(ManifestError, match="its signature does not fit"):
        require_signature(release, keys[1])


def test_a_signature_of_something_else_is_refused(release: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    """The same key may sign other things; what it signed must be this manifest."""
    from model_signing import signing

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "weights.bin").write_bytes(b"1")
    signing.Config().use_elliptic_key_signer(private_key=keys[0]).sign(elsewhere, release / SIGNATURE)  # type: ignore[no-untyped-call]
    with pytest.raises(ManifestError, match="its signature does not fit"):
        require_signature(release, keys[1])


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 100], ids=["empty", "no bundle", "no text"])
def test_a_broken_signature_is_refused(release: Path, keys: tuple[Path, Path], content: bytes) -> None:
    (release / SIGNATURE).write_bytes(content)
    with pytest.raises(ManifestError, match="its signature does not fit"):
        require_signature(release, keys[1])


def test_a_key_that_cannot_be_used_is_named(release: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"missing\.pem: .*keygen"):
        sign(release, tmp_path / "missing.pem")
