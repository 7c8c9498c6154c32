"""Creates the two virtual environments: resumable, stamped, and nothing is done when the stamp is current."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable

from deploy.local import layout
from deploy.local.indexes import Options, pip_options, uv_environment, uv_flags
from deploy.local.layout import APPLICATION, PYTRITON, ROOT, TRITON, UV, Environment, SetupError

Say = Callable[[str], None]


def build(environment: Environment, gpu: bool, say: Say) -> bool:
    """Bring one environment up to date; False when it already was."""
    wanted = expected_stamp(environment, gpu)
    if current_stamp(environment) == wanted:
        return False
    environment.stamp.unlink(missing_ok=True)
    _create(environment, say)
    if environment is APPLICATION:
        _fill_application(gpu, say)
    else:
        _fill_triton(say)
    temporary = environment.stamp.with_suffix(".new")
    temporary.write_text(wanted)
    temporary.replace(environment.stamp)
    return True


def expected_stamp(environment: Environment, gpu: bool) -> str:
    """The stamp that a finished, current environment carries."""
    torch_index = os.environ.get("TORCH_INDEX_URL", "") if environment is APPLICATION else ""
    build = "gpu" if gpu and environment is APPLICATION else "cpu"
    return layout.fingerprint(environment, build, torch_index)


def current_stamp(environment: Environment) -> str | None:
    """The stamp that is there, None while the environment is absent or unfinished."""
    try:
        return environment.stamp.read_text()
    except OSError:
        return None


def _create(environment: Environment, say: Say) -> None:
    """An environment of another Python, or one whose creation was interrupted, is made anew."""
    if not _usable(environment):
        say(f"{environment.name}: creating with Python {sys.version.split()[0]}")
        shutil.rmtree(environment.path, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(environment.path)], f"{environment.name} cannot be created")


def _usable(environment: Environment) -> bool:
    command = [str(environment.python), "-I", "-c", "import sys, pip; print(sys.version)"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return False
    return result.returncode == 0 and result.stdout.strip() == sys.version


def _fill_application(gpu: bool, say: Say) -> None:
    options = _install_uv()
    lock = ["-r", str(ROOT / "requirements.lock")]
    torch = layout.torch_pin()
    if gpu:
        say(f".venv: {torch} (GPU) and requirements.lock")
        _uv(APPLICATION, options, [torch, *lock])
        _add_gpu_extra(options, say)
        return
    say(f".venv: {torch}+cpu and requirements.lock")
    if not _has_cpu_torch(options, torch):
        say(f".venv: no CPU build of {torch} in the configured indexes (TORCH_INDEX_URL can name one); "
            "installing the default build, which is several GB larger")  # fmt: skip
        _uv(APPLICATION, options, [torch, *lock])
        return
    _uv(APPLICATION, options, [f"{torch}+cpu", *lock])


def _has_cpu_torch(options: Options, torch: str) -> bool:
    arguments = ["--dry-run", "--no-deps", f"{torch}+cpu"]
    return _try_uv(APPLICATION, options, arguments).returncode == 0


def _add_gpu_extra(options: Options, say: Say) -> None:
    """GPU wheels take the place of their CPU twins (same modules); nothing changes when they don't resolve."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["gpu"]
    probe = _try_uv(APPLICATION, options, ["--dry-run", *extra])
    if probe.returncode:
        say(f".venv: the GPU extra does not install here ({_reason(probe)}); CPU packages stay")
        return
    uninstall = [*_uv_program(), "uninstall", "--python", str(APPLICATION.python), "onnxruntime", "faiss-cpu"]
    _run(uninstall, "CPU twins of the GPU packages cannot be removed")
    _uv(APPLICATION, options, ["--reinstall-package", "onnxruntime-gpu", *extra])


def _fill_triton(say: Say) -> None:
    options = _install_uv()
    say(f".venv-triton: requirements-triton.lock and {PYTRITON}")
    _uv(TRITON, options, ["-r", str(ROOT / "requirements-triton.lock")])
    _uv(TRITON, options, ["--no-deps", PYTRITON])
    place_stub()
    compile_kernels()


def place_stub() -> None:
    """Copy the python backend's stub for this Python to where Triton looks for it."""
    source, target = layout.stub_source(), layout.stub()
    if not source.exists():
        raise SetupError(f"{PYTRITON} has no stub for Python {TRITON.minor()}; use Python 3.11 to 3.13")
    temporary = target.with_suffix(".new")
    shutil.copy2(source, temporary)
    temporary.replace(target)


def compile_kernels() -> None:
    """Have numba compile the forest's kernels and keep them, so that no server's start waits for it."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'deploy/triton/backends/fil')!r}); import kernels"
    _run([str(TRITON.python), "-c", code], "the forest's kernels do not compile")


def _install_uv() -> Options:
    """uv lives in the application environment and fills both."""
    if not APPLICATION.python.exists():
        raise SetupError(".venv is missing; run `make setup`")
    _run([str(APPLICATION.python), "-m", "pip", "install", "--quiet", UV], f"{UV} cannot be installed")
    return pip_options(APPLICATION.python)


def _uv_program() -> list[str]:
    return [str(APPLICATION.path / "bin" / "uv"), "pip"]


def _uv(environment: Environment, options: Options, arguments: list[str]) -> None:
    result = _try_uv(environment, options, arguments, show=sys.stderr.isatty())
    if result.returncode:
        raise SetupError(f"{environment.name}: {' '.join(arguments[:2])} did not install: {_reason(result)}")


def _try_uv(
    environment: Environment, options: Options, arguments: list[str], show: bool = False
) -> subprocess.CompletedProcess[str]:
    """uv's progress goes to a terminal; otherwise what it says is kept for the error message."""
    command = [*_uv_program(), "install", "--python", str(environment.python), *uv_flags(options), *arguments]
    stderr = None if show else subprocess.PIPE
    return subprocess.run(command, stderr=stderr, text=True, check=False, env=uv_environment(options))


def _run(command: list[str], problem: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SetupError(f"{problem}: {_reason(result)}")


def _reason(result: subprocess.CompletedProcess[str]) -> str:
    """The program's own explanation, in one line."""
    text = " ".join((result.stderr or result.stdout or "see above").split())
    return text[-600:]
