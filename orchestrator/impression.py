"""One impression as the log holds it: who was shown what by which release, and on what grounds."""

import hashlib
from typing import Any
from zlib import crc32

import numpy as np

from feature_repo.schema import SCHEMA
from orchestrator.ladder import Ask, Level
from orchestrator.schemas import RecommendRequest
from orchestrator.users import Known

Json = dict[str, Any]


def impression(request: RecommendRequest, ask: Ask, known: Known, level: Level, body: Json) -> Json:
    """The entry. `features` is a hash of everything the models saw; context is what the request said, or null."""
    inputs = b"".join((known.row.tobytes(), known.history.tobytes(), ask.context.tobytes()))
    return {
        "event": "impressions",
        "at": ask.at,
        "request_id": body["request_id"],
        "user_id": request.user_id,
        "model_version": body["model_version"],
        "variant": body["variant"],
        "level": level,
        "degraded": body["degraded"],
        "latency_ms": body["latency_ms"],
        "placement": request.placement,
        "device": request.device,
        "os": request.os,
        "country": request.country,
        "language": request.language,
        "time_zone": request.time_zone,
        "referrer": request.referrer,
        "session_id": request.session_id,
        "features": hashlib.blake2b(inputs, digest_size=8).hexdigest(),
        "features_from": known.origin,
        "features_age_s": known.age_s,
        "items": [(item["item_id"], item["rank"], item["score"]) for item in body["items"]],
    }


def sampled(request_id: str, share: float) -> bool:
    """Whether the raw inputs of this answer are logged: the same for the same id everywhere."""
    return crc32(request_id.encode()) < share * 2**32


def raw_inputs(ask: Ask, known: Known, objectives: np.ndarray[Any, Any] | None) -> Json:
    """What the models saw, as bytes, and their scores of the shown items [m, 3]; none below rung L1."""
    return {
        "user": known.row.astype("<f4").tobytes(),
        "history": known.history.astype("<i8").tobytes(),
        "context": ask.context.astype("<f4").tobytes(),
        "schema": SCHEMA.hash,
        "scores": None if objectives is None else objectives.astype(np.float64).tolist(),
    }
