"""Obtaining `perf_analyzer`: the PyPI package of that name is an empty placeholder, the binary ships inside old
`tritonclient` wheels. The version is chosen by the C library; it is unpacked beside the environments, never installed.
"""

import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from deploy.settings import ROOT
from perf.errors import PerfError

FOLDER = ROOT / ".tools" / "perf_analyzer"
BY_GLIBC = (((2, 38), "2.60.0"), ((2, 36), "2.48.0"))  # newest wheel that runs on at least this C library


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """The program, the libraries it needs beside it, and the wheel version it came from."""

    path: Path
    libraries: Path
    version: str


def obtain() -> Binary:
    """The unpacked binary; the first call downloads its wheel. Raises PerfError."""
    version = _version()
    folder = FOLDER / version
    binary = Binary(path=folder / "perf_analyzer", libraries=folder / "lib", version=version)
    if not binary.path.is_file():
        _unpack(version, folder)
    _check(binary)
    return binary


def _version() -> str:
    found = tuple(int(part) for part in platform.libc_ver()[1].split(".")[:2])
    for least, version in BY_GLIBC:
        if found >= least:
            return version
    raise PerfError(f"perf_analyzer needs glibc 2.36 or newer, this is {'.'.join(map(str, found)) or 'not glibc'}")


def _unpack(version: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        wheel = _download(version, Path(work))
        draft = Path(work) / "draft"
        (draft / "lib").mkdir(parents=True)
        with zipfile.ZipFile(wheel) as archive:
            name = next(n for n in archive.namelist() if n.endswith("/bin/perf_analyzer"))
            (draft / "perf_analyzer").write_bytes(archive.read(name))
        (draft / "perf_analyzer").chmod(0o755)
        (draft / "lib" / "libcudart.so.12").symlink_to(_cuda_runtime())
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)


def _download(version: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
               "--dest", str(folder), f"tritonclient=={version}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PerfError(
            f"cannot download tritonclient {version}, which carries perf_analyzer: {done.stderr.strip()[-200:]}"
        )
    return next(folder.glob("*.whl"))


def _cuda_runtime() -> Path:
    """The CUDA 12 runtime that comes with the Triton wheel; perf_analyzer is linked against it even without a GPU."""
    found = sorted((ROOT / ".venv-triton").glob("lib/python3*/site-packages/nvidia_pytriton.libs/libcudart-*.so.12*"))
    if not found:
        raise PerfError("libcudart.so.12 is missing; run `make setup`")
    return found[0]


def _check(binary: Binary) -> None:
    done = subprocess.run(
        [binary.path, "--version"], env=environment(binary), capture_output=True, text=True, check=False
    )
    if "error while loading shared libraries" in done.stderr:
        raise PerfError(
            f"perf_analyzer does not start: {done.stderr.strip()}; run `make setup` (apt package libb64-0d)"
        )


def environment(binary: Binary) -> dict[str, str]:
    """The environment to run it in."""
    return {"LD_LIBRARY_PATH": str(binary.libraries), "PATH": "/usr/bin:/bin"}
