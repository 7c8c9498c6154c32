"""Files of the source through Spark's own connectors: whatever `spark.read` can open is listed and peeked into here."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.sql import SparkSession

from training.errors import DataError

HEAD = 1 << 16  # bytes in which a CSV header must end
GLOB = re.compile(r"([{}\[\]*?\\])")


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file: `path` as the connector names it, `name` below the folder that was listed, size in bytes."""

    path: str
    name: str
    size: int
    changed: int  # ms since 1970

    @property
    def spark_path(self) -> str:
        """The path for `spark.read`, which takes brackets and stars for patterns."""
        return GLOB.sub(r"\\\1", self.path)


class Storage:
    """The source's folder. Every failure is a DataError with the path."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        self.root = root if "://" in root else f"file://{root}"
        self._jvm: Any = spark._jvm
        self._conf: Any = spark._jsc.hadoopConfiguration()
        try:
            self._system: Any = self._path(self.root).getFileSystem(self._conf)
        except Py4JJavaError as error:
            raise DataError(
                f"{root}: no connector for it ({reason(error)}); name one in TRIDENT_SPARK_OPTIONS, "
                "as spark.jars.packages=…"
            ) from None

    def names(self) -> list[str]:
        """Names of the files and folders directly in the source's folder."""
        try:
            found = self._system.listStatus(self._path(self.root))
        except Py4JJavaError as error:
            raise DataError(
                f"{self.root}: {reason(error)}; set TRIDENT_DATA to the folder with the source's files"
            ) from None
        return sorted(str(status.getPath().getName()) for status in found)

    def files(self, name: str) -> list[File]:
        """The files below one of `names`, or it itself, without those whose path has a part that starts with _ or ."""
        top = self._path(f"{self.root.rstrip('/')}/{name}")
        found = [self._file(status, str(top.toString())) for status in self._statuses(top)]
        return sorted((f for f in found if not _hidden(f.name)), key=lambda f: f.name)

    def read(self, name: str) -> bytes:
        """The whole of a small file directly in the source's folder."""
        stream = self._system.open(self._path(f"{self.root.rstrip('/')}/{name}"))
        try:
            return bytes(stream.readAllBytes())
        finally:
            stream.close()

    def head(self, file: File) -> bytes:
        """The first `HEAD` bytes of a file, decompressed by its suffix."""
        try:
            stream = self._open(file)
            try:
                return bytes(stream.readNBytes(HEAD))
            finally:
                stream.close()
        except Py4JJavaError as error:
            raise DataError(f"{file.path}: cannot be read as CSV: {reason(error)}") from None

    def schemas(self, files: Sequence[File]) -> dict[str, Any]:
        """The Parquet schema of each file by path, from its footer: parquet-java's `MessageType`."""
        reader = self._jvm.org.apache.parquet.hadoop.ParquetFileReader
        statuses = self._jvm.java.util.ArrayList()
        for file in files:
            statuses.add(self._system.getFileStatus(self._path(file.path)))
        try:
            footers = list(reader.readAllFootersInParallel(self._conf, statuses))
        except Py4JJavaError:
            raise self._broken(reader, files) from None
        return {
            str(footer.getFile().toString()): footer.getParquetMetadata().getFileMetaData().getSchema()
            for footer in footers
        }

    def _broken(self, reader: Any, files: Sequence[File]) -> DataError:
        for file in files:
            try:
                reader.readFooter(self._conf, self._path(file.path))
            except Py4JJavaError as error:
                return DataError(f"{file.path}: cannot be read as Parquet: {reason(error)}")
        return DataError(f"{self.root}: changed while it was read; run again")

    def _open(self, file: File) -> Any:
        path = self._path(file.path)
        stream = self._system.open(path)
        codec = self._jvm.org.apache.hadoop.io.compress.CompressionCodecFactory(self._conf).getCodec(path)
        return stream if codec is None else codec.createInputStream(stream)

    def _path(self, path: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(path)

    def _statuses(self, top: Any) -> list[Any]:
        if self._system.getFileStatus(top).isFile():
            return [self._system.getFileStatus(top)]
        iterator, found = self._system.listFiles(top, True), []
        while iterator.hasNext():
            found.append(iterator.next())
        return found

    def _file(self, status: Any, top: str) -> File:
        path = str(status.getPath().toString())
        name = path.removeprefix(top).lstrip("/")
        return File(path=path, name=name, size=int(status.getLen()), changed=int(status.getModificationTime()))


def reason(error: Py4JJavaError) -> str:
    """One line of what the JVM says."""
    said = error.java_exception.getMessage() or error.java_exception.getClass().getSimpleName()
    return " ".join(str(said).split())[:200]


def _hidden(name: str) -> bool:
    return any(part.startswith(("_", ".")) for part in name.split("/"))
