"""Everything the environment may say, read in this one module and passed on as a value.

Variables are named `TRIDENT_<FIELD>` (`TRIDENT_API_PORT=9000`); one that is not listed here is an error, because
a misspelt setting that is silently ignored is worse than none.
"""

import hashlib
import os
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parents[1]
PREFIX = "TRIDENT_"
_FOREIGN = (
    "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV",
    "PROMETHEUS_MULTIPROC_DIR", "PROMETHEUS_MULTIPROCESS_DIR",  # Feast sets them when it is imported
)  # fmt: skip


class SettingsError(ValueError):
    """The environment holds a value that cannot be used; the message names the variable and the fix."""


class Settings(BaseSettings):
    """Paths, ports and choices of one run. Ports are TCP on `host`; times are seconds unless the name says ms."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    home: Path = Field(default=ROOT / "var", description="everything generated lives below")
    source: str = Field(default="sample", pattern=r"^[a-z][a-z0-9_]*$", description="adapter of the raw data")
    data: str | None = Field(
        default=None,
        description="folder with the source's files, for source `files` also a URL Spark reads; the sample needs none",
    )
    seed: int = Field(default=1, ge=0, description="seed of the sample and of training")
    size: Literal["tiny", "default"] = Field(default="default", description="size of the generated sample")

    host: str = "127.0.0.1"
    api_port: int = Field(default=8080, ge=1, le=65535)
    redis_port: int = Field(default=6390, ge=1, le=65535)
    triton_http_port: int = Field(default=8000, ge=1, le=65535)
    triton_grpc_port: int = Field(default=8001, ge=1, le=65535)
    triton_metrics_port: int = Field(default=8002, ge=1, le=65535)
    watchdog_port: int = Field(default=8003, ge=1, le=65535)

    redis_memory: str = Field(default="2gb", description="Redis maxmemory; writes that can't evict a cache then fail")
    system_packages: Literal["install", "check"] = Field(
        default="install", description="whether set-up may call apt-get for what is missing"
    )

    triton_key: SecretStr | None = Field(
        default=None, min_length=16, description="Triton's model control then answers only who shows this key"
    )
    triton_cancels: bool = Field(
        default=False, description="take late calls back from Triton; one before 25.06 may crash on that"
    )
    triton_control: Literal["explicit", "none"] = Field(
        default="explicit",
        description="Triton's --model-control-mode: loaded over gRPC, or blue/green by starting servers",
    )
    signing_key: Path | None = Field(default=None, description="private key that every built release is signed with")
    verifying_key: Path | None = Field(
        default=None, description="public key; a release without its signature is refused then"
    )

    profile: Literal["cpu", "gpu"] = Field(default="cpu", description="which generated Triton configs")
    spark_master: str = "local[2]"
    spark_memory: str = "4g"
    spark_options: str = Field(default="", description="more of Spark's options, `key=value;key=value`")
    candidates: int = Field(default=500, ge=1, le=4096, description="items retrieved and ranked for a request")
    index: Literal["auto", "flat", "ivf", "hnsw"] = Field(
        default="auto", description="FAISS index of a release; auto: the cheapest by measurement"
    )
    index_memory_gib: float = Field(default=4.0, gt=0, description="an index may take this; a swap holds two of them")
    deadline_ms: float = Field(default=100.0, gt=0, description="a recommendation answers within this")
    admin_key: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="admin endpoints and explanations answer only who shows this key; without one they are off",
    )
    max_in_flight: int = Field(default=64, ge=1, description="requests answered at once; one more gets 429")
    drain_s: float = Field(
        default=0.0, ge=0, description="SIGTERM: not ready for so long before closing; a balancer's probes take that"
    )
    stale_features_hours: float = Field(default=48.0, gt=0, description="older user rows are flagged in the answer")
    sampled_inputs: float = Field(
        default=0.01, ge=0, le=1, description="share of the answers whose raw inputs are in the impression log"
    )
    otlp_endpoint: str | None = Field(
        default=None, pattern="^https?://", description="OpenTelemetry collector (OTLP over HTTP); none: no traces"
    )
    trace_share: float = Field(
        default=0.0, ge=0, le=1, description="share of the requests without a trace context that are traced"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: str) -> str:
        """Whoever reaches Triton in explicit model-control mode runs code: nothing here may leave the machine."""
        if not ip_address(host).is_loopback:
            raise ValueError(f"{host} is not a loopback address; the local runtime listens on loopback only")
        return host

    @field_validator("data", mode="before")
    @classmethod
    def _absolute(cls, data: object) -> object:
        """A URL stays as it is; a path no longer depends on the folder it was said in."""
        return data if data is None or "://" in str(data) else str(Path(str(data)).resolve())

    @field_validator("spark_options")
    @classmethod
    def _pairs(cls, options: str) -> str:
        wrong = [part for part in options.split(";") if part.strip() and not part.partition("=")[2]]
        if wrong:
            raise ValueError(f"{wrong[0].strip()!r} is not key=value; separate options with `;`")
        return options

    @property
    def data_folder(self) -> Path | None:
        """Where the source's files are, when that is a folder of this machine."""
        path = (self.data or "").removeprefix("file://")
        return Path(path) if path and "://" not in path else None

    @property
    def spark_conf(self) -> dict[str, str]:
        """`spark_options` by key."""
        pairs = (part.partition("=") for part in self.spark_options.split(";") if part.strip())
        return {key.strip(): value.strip() for key, _, value in pairs}

    @property
    def workspace(self) -> Path:
        """One folder per (source, seed, size) or (source, data), so that two sources' data never mix."""
        if self.source == "sample":
            return self.home / f"sample-{self.size}-{self.seed}"
        if self.data is None:
            return self.home / self.source
        folder = hashlib.sha256(self.data.encode()).hexdigest()[:8]
        return self.home / f"{self.source}-{folder}"

    @property
    def raw(self) -> Path:
        """Canonical input tables: events, impressions, items, users."""
        return self.workspace / "raw"

    @property
    def served(self) -> Path:
        """What serving logged, collected by day: impressions, events, sampled inputs."""
        return self.workspace / "served"

    @property
    def tables(self) -> Path:
        """Validated tables, quarantine and the validation report."""
        return self.workspace / "tables"

    @property
    def features(self) -> Path:
        """Feature snapshots (Feast's offline store), examples and vocabularies."""
        return self.workspace / "features"

    @property
    def title_cache(self) -> Path:
        """Encoded titles, shared by all workspaces."""
        return self.home / "cache" / "titles"

    @property
    def lines(self) -> Path:
        """Trained lines, `lines/L`."""
        return self.workspace / "lines"

    @property
    def releases(self) -> Path:
        """Releases, `releases/N`."""
        return self.workspace / "releases"

    @property
    def embeddings(self) -> Path:
        """Item embeddings by tower digest, so that a refresh encodes only what changed."""
        return self.workspace / "embeddings"

    @property
    def daily(self) -> Path:
        """State and report of every daily run, `daily/<day>`."""
        return self.workspace / "daily"

    @property
    def tracking(self) -> Path:
        """MLflow's database of runs and lines."""
        return self.workspace / "mlflow.db"

    @property
    def runtime_repository(self) -> Path:
        """The model repository Triton serves: generated, never tracked."""
        return self.workspace / "model_repository"

    @property
    def logs(self) -> Path:
        """Log files of the local runtime."""
        return self.workspace / "log"

    @property
    def redis_url(self) -> str:
        """Where features, caches and the traffic record live."""
        return f"redis://{self.host}:{self.redis_port}/0"

    @property
    def triton_url(self) -> str:
        """Triton's gRPC endpoint, `host:port`."""
        return f"{self.host}:{self.triton_grpc_port}"


def _refuse_unknown_variables() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}; known: {', '.join(sorted(known))}")


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """Read the environment once. Raises `SettingsError` naming the variable and what is wrong with it."""
    _refuse_unknown_variables()
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError(problems) from None


def child_environment(settings: Settings) -> dict[str, str]:
    """For a child process: the shell's variables without Python's and Trident's own, plus the settings."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX) and k not in _FOREIGN}
    return inherited | trident_variables(settings)


def trident_variables(settings: Settings) -> dict[str, str]:
    """`TRIDENT_<FIELD>` for every field with a value; a child that reads them gets equal settings."""
    values = settings.model_dump(mode="json")
    values["home"] = str(settings.home.resolve())
    secrets = {name: value for name, value in settings if isinstance(value, SecretStr)}
    values |= {name: value.get_secret_value() for name, value in secrets.items()}
    return {PREFIX + name.upper(): str(value) for name, value in values.items() if value is not None}
