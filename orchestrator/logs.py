"""Service logs: one JSON line for each event on stderr; the message is an event name, everything else a field."""

import logging
import sys

import orjson
import structlog

from orchestrator.tracing import add_trace

LIBRARIES = ("uvicorn", "asyncio")  # that log through the standard library


def configure(level: str) -> None:
    """Set structlog up for this process. JSON escapes what could break a line."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            add_trace,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    for name in LIBRARIES:
        logging.getLogger(name).handlers = [Lines()]
        logging.getLogger(name).propagate = False


class Lines(logging.Handler):
    """What a library logs, tracebacks included, as a line like any other."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        log = structlog.get_logger()
        log.log(record.levelno, "library", logger=record.name, message=record.getMessage(), exc_info=record.exc_info)
