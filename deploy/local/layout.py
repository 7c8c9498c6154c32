"""Where the environments and their programs are, and the versions pinned outside the lock files."""

import hashlib
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UV = "uv==0.13.9"
PYTRITON = "nvidia-pytriton==0.7.0"
PYTHON_MIN, PYTHON_BELOW = (3, 11), (3, 14)
STAMP = "trident.stamp"
SYSTEM_LIBRARIES = tuple(map(Path, ("/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib")))


class SetupError(Exception):
    """Set-up cannot go on; the message is one line naming what is missing and how to get it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """A virtual environment below the repository and the files that decide its contents."""

    name: str
    inputs: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Folder of the environment."""
        return ROOT / self.name

    @property
    def python(self) -> Path:
        """Interpreter of the environment."""
        return self.path / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """Written last, so that its presence means a finished install."""
        return self.path / STAMP

    def site_packages(self) -> Path:
        """Its `site-packages`. Raises `SetupError` when the environment does not exist."""
        found = sorted(self.path.glob("lib/python3.*/site-packages"))
        if not found:
            raise SetupError(f"{self.name} is missing; run `make setup`")
        return found[-1]

    def minor(self) -> str:
        """Python minor version, as in `3.12`."""
        return self.site_packages().parent.name.removeprefix("python")


APPLICATION = Environment(name=".venv", inputs=("requirements.lock", "pyproject.toml"))
TRITON = Environment(name=".venv-triton", inputs=("requirements-triton.lock",))


def torch_pin() -> str:
    """`torch==X` as pyproject's training extra says it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements: list[str] = project["optional-dependencies"]["training"]
    return next(r for r in requirements if re.match(r"torch\b", r))


def fingerprint(environment: Environment, *choices: str) -> str:
    """Hash of everything that decides the environment's contents; `choices` are the machine's, e.g. `gpu`."""
    digest = hashlib.sha256()
    for name in environment.inputs:
        digest.update((ROOT / name).read_bytes())
    for part in (sys.version, UV, PYTRITON, (ROOT / "deploy/local/environments.py").read_text(), *choices):
        digest.update(part.encode())
    return digest.hexdigest()


def triton_home() -> Path:
    """Folder with `bin/tritonserver`, `backends/` and `caches/`."""
    return TRITON.site_packages() / "pytriton" / "tritonserver"


def triton_binary() -> Path:
    """The server's program."""
    return triton_home() / "bin" / "tritonserver"


def triton_libraries() -> Path:
    """Shared libraries that the wheel carries for its server."""
    return TRITON.site_packages() / "nvidia_pytriton.libs"


def stub_source() -> Path:
    """The python backend's stub for the Python of `.venv-triton`."""
    return triton_home() / "python_backend_stubs" / TRITON.minor() / "triton_python_backend_stub"


def stub() -> Path:
    """Where Triton looks for that stub."""
    return triton_home() / "backends" / "python" / "triton_python_backend_stub"


def libpython_folder(python: Path | str = sys.executable) -> Path | None:
    """Folder of the shared libpython of `python`; None when only a static one or none is there."""
    code = (
        "import sysconfig as s, sys; v = s.get_config_vars(); "
        "print(v.get('LIBDIR') or '', f'libpython3.{sys.version_info[1]}.so.1.0', v.get('MULTIARCH') or '', "
        "sys.base_prefix, sep='\\n')"
    )
    out = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    libdir, name, arch, prefix = out.split("\n")[:4]
    places = [Path(libdir), Path(prefix) / "lib", *(p / arch for p in SYSTEM_LIBRARIES), *SYSTEM_LIBRARIES]
    return next((place for place in places if (place / name).exists()), None)
