"""The wheel's real tritonserver on this machine, with its python backend and ours."""

import os
from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex

from deploy.local import layout
from deploy.local.errors import PlatformError
from deploy.local.processes.ports import Port
from deploy.local.readiness import http_status
from deploy.local.runtime.server import Server
from deploy.settings import ROOT, Settings, child_environment
from model_repository.control import server_flags

OUR_BACKENDS = ROOT / "deploy" / "triton" / "backends"
STARTUP = ROOT / "deploy" / "triton" / "startup"  # what every stub runs first
SHM_BYTES = 8 << 20
ARENAS = {"MALLOC_ARENA_MAX": "2"}  # glibc's one per thread kept over 3 GiB of freed tensors in Triton's 240 threads
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class TritonServer(Server):
    """In explicit mode it starts with nothing loaded and the exporter loads models over gRPC; in mode none it loads
    what `repository` (default: the workspace's) holds, and never anything else.

    `backends` are folders whose sub-folders are python-based backends; `flags` are added to the command line.
    """

    name = "triton"
    exit_seconds = 15
    grace = exit_seconds + 5.0

    def __init__(
        self,
        settings: Settings,
        backends: Sequence[Path] = (OUR_BACKENDS,),
        flags: Sequence[str] = (),
        repository: Path | None = None,
    ) -> None:
        super().__init__(settings)
        self._backends = tuple(backends)
        self._flags = tuple(flags)
        self._repository = repository
        self.shm_prefix = f"trident-{token_hex(6)}-"

    @property
    def ports(self) -> tuple[Port, ...]:
        """HTTP (for perf_analyzer and health), gRPC and metrics."""
        s = self.settings
        return (
            _port(s.triton_http_port, "HTTP"),
            _port(s.triton_grpc_port, "gRPC"),
            _port(s.triton_metrics_port, "metrics"),
        )

    @property
    def backend_directory(self) -> Path:
        """Where Triton finds its own python backend and ours side by side."""
        return self.settings.workspace / "triton-backends"

    def prepare(self) -> None:
        """Check what Triton itself would fail on without a word, and assemble the backend directory."""
        if problem := launch_problem():
            raise PlatformError(problem)
        self.settings.runtime_repository.mkdir(parents=True, exist_ok=True)
        self._assemble_backends()

    def command(self) -> Sequence[str | Path]:
        """Loopback addresses only, complete configurations expected."""
        s = self.settings
        return [
            layout.triton_binary(),
            f"--model-repository={(self._repository or s.runtime_repository).resolve()}",
            f"--backend-directory={self.backend_directory.resolve()}",
            f"--cache-directory={layout.triton_home() / 'caches'}",
            f"--model-control-mode={s.triton_control}",
            "--disable-auto-complete-config",
            "--allow-http=true",
            f"--http-address={s.host}",
            f"--http-port={s.triton_http_port}",
            f"--grpc-address={s.host}",
            f"--grpc-port={s.triton_grpc_port}",
            f"--metrics-address={s.host}",
            f"--metrics-port={s.triton_metrics_port}",
            f"--backend-config=python,shm-region-prefix-name={self.shm_prefix}",
            f"--backend-config=python,shm-default-byte-size={SHM_BYTES}",
            f"--exit-timeout-secs={self.exit_seconds}",
            *(server_flags(s.triton_key.get_secret_value()) if s.triton_key else ()),
            *(trace_flags(s.otlp_endpoint) if s.otlp_endpoint else ()),
            *self._flags,
        ]

    def environment(self) -> dict[str, str]:
        """The stub embeds the first `python3` on PATH and finds its libraries through LD_LIBRARY_PATH; `faiss` follows
        the overlay in Redis."""
        overlay = {"OVERLAY_REDIS": self.settings.redis_url}
        return child_environment(self.settings) | triton_variables() | overlay

    def ready(self) -> bool:
        """Server readiness; whether a model's version answers is the publisher's question (`exporters.server`)."""
        return http_status(self.settings.host, self.settings.triton_http_port, "/v2/health/ready") == 200

    def _assemble_backends(self) -> None:
        self.backend_directory.mkdir(parents=True, exist_ok=True)
        wanted = {"python": layout.stub().parent}
        for folder in self._backends:
            wanted |= {model.parent.name: model.parent for model in sorted(folder.glob("*/model.py"))}
        for stale in self.backend_directory.iterdir():
            stale.unlink()
        for name, target in wanted.items():
            (self.backend_directory / name).symlink_to(target.resolve())


def _port(number: int, service: str) -> Port:
    variable = f"TRIDENT_TRITON_{service.upper()}_PORT"
    return Port(number=number, purpose=f"Triton {service}", variable=variable)


def trace_flags(endpoint: str) -> tuple[str, ...]:
    """Spans of the calls that carry a sampled trace context, and of no other (rate 0), to a collector's base URL."""
    settings = (
        "mode=opentelemetry",
        f"opentelemetry,url={endpoint.rstrip('/')}/v1/traces",
        "level=TIMESTAMPS",
        "rate=0",
    )
    return tuple(f"--trace-config={setting}" for setting in settings)


def triton_variables() -> dict[str, str]:
    """What the server and its stubs need: their Python first, their libraries, and one thread per kernel."""
    folders = [layout.triton_libraries(), layout.libpython_folder(layout.TRITON.python)]
    libraries = [str(folder) for folder in folders if folder]
    libraries += os.environ.get("LD_LIBRARY_PATH", "").split(":")
    path = f"{layout.TRITON.path / 'bin'}:{os.environ.get('PATH', os.defpath)}"
    searched = ":".join(filter(None, libraries))
    found = {"PATH": path, "LD_LIBRARY_PATH": searched, "PYTHONPATH": str(STARTUP)}
    return {**found, **ARENAS, **dict.fromkeys(ONE_THREAD, "1")}


def launch_problem() -> str | None:
    """One line saying what keeps Triton from starting here and how to get it; None when nothing does."""
    try:
        binary, stub = layout.triton_binary(), layout.stub()
    except layout.SetupError as error:
        return str(error)
    for file in (binary, stub):
        if not os.access(file, os.X_OK):
            return f"{file.name} is missing from .venv-triton; run `make setup`"
    if layout.libpython_folder(layout.TRITON.python) is None:
        name = f"libpython{layout.TRITON.minor()}"
        return f"{name}.so.1.0 is missing; apt-get install {name}"
    return None
