"""The Spark session: quiet, loopback only, UTC; any master by the settings."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.errors import PySparkRuntimeError
from pyspark.sql import SparkSession

from deploy.settings import Settings
from training.errors import DataError

COMMON = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.legacy.parquet.nanosAsLong": "true",  # what pandas writes; training.adapters.files makes moments of it
    "spark.sql.ansi.enabled": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
}
LOCAL = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.default.parallelism": "4"}
LARGE_MIB = 16  # of Parquet, about 700,000 events with their impressions
PARTITION_MIB = 8  # of Parquet; what a task sorts of it in memory is ten times as much
# A short run is over before the optimising compiler would pay. In a long one the methods that Spark generates for our
# wide rows are larger than the JVM compiles by default.
SHORT_RUN, LONG_RUN = "-XX:TieredStopAtLevel=1 -XX:+UseParallelGC", "-XX:-DontCompileHugeMethods -XX:+UseParallelGC"


def open_session(settings: Settings) -> SparkSession:
    """A session, or the one that is already running in this process. Raises DataError without a Java runtime.

    What the JVM prints goes to `spark.log` below settings.logs.
    """
    logging.getLogger("py4j").setLevel(logging.ERROR)
    options = COMMON | (LOCAL | _sized(_input_mib(settings)) if settings.spark_master.startswith("local") else {})
    builder = SparkSession.builder.appName("trident").master(settings.spark_master)
    builder = builder.config("spark.driver.memory", settings.spark_memory).config(map=options | settings.spark_conf)
    settings.logs.mkdir(parents=True, exist_ok=True)
    log = settings.logs / "spark.log"
    try:
        with stderr_into(log):
            return builder.getOrCreate()
    except PySparkRuntimeError:
        raise DataError(f"Spark did not start, see {log}; it needs Java 17 (openjdk-17-jre-headless)") from None


def _sized(mib: float) -> dict[str, str]:
    """Options of a local session by how much it will read; on a cluster its own defaults and AQE decide."""
    return {
        "spark.sql.shuffle.partitions": str(max(4, int(mib / PARTITION_MIB))),
        "spark.driver.extraJavaOptions": LONG_RUN if mib > LARGE_MIB else SHORT_RUN,
    }


def _input_mib(settings: Settings) -> float:
    """MiB of the raw tables, or of the source's folder where that is more; 0 where neither is on this machine."""
    folders = [folder for folder in (settings.raw, settings.data_folder) if folder is not None and folder.is_dir()]
    sizes = [sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) for folder in folders]
    return max(sizes, default=0) / 2**20


@contextmanager
def stderr_into(log: Path) -> Iterator[None]:
    """Processes started inside the block write their standard error to the log."""
    sys.stderr.flush()
    saved = os.dup(2)
    with log.open("ab") as target:
        os.dup2(target.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
