"""`source.json` of the user's own data: what the defaults do not fit. Every key may be left out."""

from datetime import UTC, datetime
from typing import Any

import orjson

from training.adapters.files import NAME
from training.adapters.source import FILE, Source, Windows
from training.errors import DataError

DECLARABLE = ("windows", "as_of", "minimum_positives", "notes")


def declared(content: bytes | None, root: str, has_impressions: bool) -> Source:
    """The source that the file's content declares; None where there is no file. Raises DataError."""
    try:
        stored: dict[str, Any] = orjson.loads(content) if content is not None else {}
        unknown = sorted(set(stored) - set(DECLARABLE))
        if unknown:
            raise ValueError(f"unknown key {', '.join(unknown)}; known: {', '.join(DECLARABLE)}")
        if "windows" in stored:
            stored["windows"] = Windows(**stored["windows"])
        if "as_of" in stored:
            stored["as_of"] = _utc(datetime.fromisoformat(stored["as_of"]))
        return Source(name=NAME, has_impressions=has_impressions, **stored)
    except (TypeError, ValueError) as error:
        raise DataError(f"{root}/{FILE}: {error}") from None


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
