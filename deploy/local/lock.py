"""Resolves the lock files again: `make lock`. No index and no path ends up in them."""

import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from deploy.local.indexes import pip_options, uv_environment, uv_flags
from deploy.local.layout import APPLICATION, ROOT, SetupError

APPLICATION_EXTRAS = ("serving", "training", "exporters", "perf", "dev")
LOWEST_PYTHON = "3.11"
_BROUGHT_BY_TORCH = re.compile(r"^(torch|triton|nvidia-[\w-]+|cuda-[\w-]+)==")
_SILENT = ("--no-header", "--no-annotate", "--no-emit-find-links", "--no-emit-index-url")
_OPTIONS = ("--universal", "--python-version", LOWEST_PYTHON, *_SILENT)


def write_locks(say: Callable[[str], None]) -> None:
    """Both environments. torch and what only its GPU build drags in stay out: set-up chooses the build."""
    extras = [part for extra in APPLICATION_EXTRAS for part in ("--extra", extra)]
    for source, flags, target in (
        ("pyproject.toml", extras, "requirements.lock"),
        ("requirements-triton.in", [], "requirements-triton.lock"),
    ):
        lines = _resolve(source, flags, ROOT / target)
        kept = [line for line in lines if not _BROUGHT_BY_TORCH.match(line)]
        (ROOT / target).write_text("\n".join(kept) + "\n")
        say(f"{target}: {len(kept)} packages")


def _resolve(source: str, flags: list[str], current: Path) -> list[str]:
    """Resolve beside the current lock, whose versions are kept while they still fit."""
    options = pip_options(APPLICATION.python)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / current.name
        if current.exists():
            output.write_text(current.read_text())
        program = [str(APPLICATION.path / "bin" / "uv"), "pip", "compile", "--quiet", source]
        command = [*program, *flags, *_OPTIONS, *uv_flags(options), "-o", str(output)]
        result = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, env=uv_environment(options)
        )
        if result.returncode:
            raise SetupError(f"{source} does not resolve: {' '.join(result.stderr.split())[-600:]}")
        return output.read_text().splitlines()
