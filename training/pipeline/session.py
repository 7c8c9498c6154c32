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
LOCAL = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.shuffle.partitions": "4",
    "spark.default.parallelism": "4",
    # a local run is over before the optimising compiler would pay
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseParallelGC",
}


def open_session(settings: Settings) -> SparkSession:
    """A session, or the one that is already running in this process. Raises DataError without a Java runtime.

    What the JVM prints goes to `spark.log` below settings.logs.
    """
    logging.getLogger("py4j").setLevel(logging.ERROR)
    options = COMMON | (LOCAL if settings.spark_master.startswith("local") else {})
    builder = SparkSession.builder.appName("trident").master(settings.spark_master)
    builder = builder.config("spark.driver.memory", settings.spark_memory).config(map=options | settings.spark_conf)
    settings.logs.mkdir(parents=True, exist_ok=True)
    log = settings.logs / "spark.log"
    try:
        with stderr_into(log):
            return builder.getOrCreate()
    except PySparkRuntimeError:
        raise DataError(f"Spark did not start, see {log}; it needs Java 17 (openjdk-17-jre-headless)") from None


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
