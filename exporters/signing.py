"""Signed releases, on by option: who holds the private key built it, and since then nobody changed it.

The manifest carries the SHA-256 of every file, so the manifest is what is signed (model-signing, an elliptic-curve key
that never leaves the builder, no network); `exporters.verify` then holds every file against it.
"""

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from exporters.errors import ExportError, ManifestError
from exporters.manifest import FILE

SIGNATURE = "release.sig"
PRIVATE, PUBLIC = "release-key.pem", "release-key.pub.pem"


def sign(folder: Path, private_key: Path) -> None:
    """Write the signature of a release's manifest beside it. Raises ExportError when the key cannot be used."""
    from model_signing import signing

    try:
        config = signing.Config().use_elliptic_key_signer(private_key=private_key)  # type: ignore[no-untyped-call]
        config.set_hashing_config(_manifest_alone(folder)).sign(folder, folder / SIGNATURE)
    except (OSError, ValueError, TypeError) as error:
        raise ExportError(f"signing key {private_key}: {error}; `python -m exporters keygen` makes one") from None


def require_signature(folder: Path, public_key: Path) -> None:
    """Raise ManifestError unless the manifest was signed with the key that belongs to this one."""
    from model_signing import verifying

    if not (folder / SIGNATURE).is_file():
        raise ManifestError(f"release {folder.name} is not signed; build it with TRIDENT_SIGNING_KEY set")
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)  # type: ignore[no-untyped-call]
        config.set_hashing_config(_manifest_alone(folder)).verify(folder, folder / SIGNATURE)
    except Exception as error:  # the library raises what its parsers and cryptography raise
        raise ManifestError(f"release {folder.name}: its signature does not fit {public_key}: {error}") from None


def generate_keys(folder: Path) -> tuple[Path, Path]:
    """A new pair of P-256 keys, (private, public), in PEM. Raises ExportError rather than replace one."""
    folder.mkdir(parents=True, exist_ok=True)
    private, public = folder / PRIVATE, folder / PUBLIC
    if private.exists() or public.exists():
        raise ExportError(f"{folder} holds a key already; name another folder")
    key = ec.generate_private_key(ec.SECP256R1())
    private.touch(mode=0o600)
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def _manifest_alone(folder: Path) -> Any:
    """model-signing's configuration that looks at the manifest and nothing else."""
    from model_signing import hashing

    others = [path for path in folder.iterdir() if path.name != FILE]
    config: Any = hashing.Config  # which has no annotations of its own
    return config().set_ignored_paths(paths=[*others, folder / SIGNATURE], ignore_git_paths=False)
