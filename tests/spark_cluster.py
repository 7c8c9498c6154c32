"""A real standalone Spark cluster on loopback: one master, two workers, each a JVM of its own."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark

from tests.ports import free_ports

SPARK = Path(pyspark.__file__).parent
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """The master's URL and the folder below which each worker keeps what its executors did."""

    url: str
    work: Path

    @property
    def workers_used(self) -> list[str]:
        """Names of the workers that ran an executor."""
        return sorted({path.parts[-3] for path in self.work.glob("*/app-*/*") if path.is_dir()})


@contextmanager
def spark_cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """Runs the cluster while the block does; its logs are in `folder`."""
    port, *others = free_ports(2 + 2 * workers)
    url = f"spark://127.0.0.1:{port}"
    with ExitStack() as running:
        master = ["master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(others.pop())]
        running.enter_context(_daemon(folder, "master", master, "I have been elected leader"))
        for n in range(workers):
            ports = ["--port", str(others.pop()), "--webui-port", str(others.pop())]
            size = ["--cores", "1", "--memory", "1g", "--work-dir", str(folder / "work" / f"worker-{n}")]
            worker = ["worker.Worker", "--host", "127.0.0.1", *ports, *size, url]
            running.enter_context(_daemon(folder, f"worker-{n}", worker, "Successfully registered with master"))
        yield Cluster(url, folder / "work")


@contextmanager
def _daemon(folder: Path, name: str, arguments: list[str], ready: str) -> Iterator[None]:
    log = folder / f"{name}.log"
    command = [str(SPARK / "bin" / "spark-class"), f"org.apache.spark.deploy.{arguments[0]}", *arguments[1:]]
    variables = {"SPARK_HOME": str(SPARK), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m",
                 "PATH": "/usr/local/bin:/usr/bin:/bin"}  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=variables)
    try:
        _await(process, log, ready)
        yield
    finally:
        process.terminate()
        process.wait(20)


def _await(process: subprocess.Popen[bytes], log: Path, ready: str) -> None:
    until = time.monotonic() + START_SECONDS
    while ready not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{' '.join(map(str, process.args))} is not ready: {log.read_text()[-500:]}")
        time.sleep(0.1)
