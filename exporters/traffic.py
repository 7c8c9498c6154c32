"""The traffic record's writer: Redis first, then the local mirror that outlives it."""

import secrets
from pathlib import Path

import redis

from deploy.settings import Settings
from exporters.errors import ServerError
from model_repository.traffic import TRAFFIC_KEY, Arm, Popular, ServedRelease, Traffic, popular_key


class TrafficStore:
    """Reads and writes the record of one workspace. Raises ServerError when Redis does not answer."""

    def __init__(self, settings: Settings) -> None:
        self._redis = redis.Redis.from_url(settings.redis_url, socket_timeout=2.0, socket_connect_timeout=1.0)
        self._url = settings.redis_url
        self._mirror = settings.workspace / "traffic.json"
        self._popular = settings.workspace

    def read(self) -> Traffic | None:
        """The record in Redis, or its mirror when Redis has none."""
        try:
            stored = self._redis.get(TRAFFIC_KEY)
        except redis.RedisError as error:
            raise ServerError(f"Redis at {self._url}: {error}; start it with `make serve`") from None
        return Traffic.model_validate_json(stored) if isinstance(stored, bytes) else self.mirrored()

    def mirrored(self) -> Traffic | None:
        """The local mirror of the record."""
        return Traffic.model_validate_json(self._mirror.read_bytes()) if self._mirror.is_file() else None

    def write(self, traffic: Traffic) -> None:
        """Replace the record."""
        self._set(TRAFFIC_KEY, traffic.model_dump_json())
        replace_file(self._mirror, traffic.model_dump_json(indent=2))

    def promote(self, release: ServedRelease, triton: str) -> Traffic:
        """All users to one release; what carried them before stays listed, so that rolling back needs no reload."""
        before = self.read()
        carried = {arm.release for arm in before.arms} - {release.release} if before else set()
        others = tuple(r for r in before.releases if r.release in carried) if before else ()
        traffic = Traffic(
            sequence=before.sequence + 1 if before else 1,
            salt=before.salt if before else secrets.token_hex(8),
            arms=(Arm(variant="champion", release=release.release, share=1.0),),
            releases=(*others, release),
            triton=(triton,),
        )
        self.write(traffic)
        return traffic

    def write_popular(self, popular: Popular) -> None:
        """Store a release's popular items."""
        self._set(popular_key(popular.release), popular.model_dump_json())
        replace_file(self._popular / f"popular-{popular.release}.json", popular.model_dump_json())

    def restore_popular(self, release: int) -> None:
        """Put a release's popular items back into a Redis that lost them."""
        mirror = self._popular / f"popular-{release}.json"
        if mirror.is_file():
            self._set(popular_key(release), mirror.read_text())

    def _set(self, key: str, value: str) -> None:
        try:
            self._redis.set(key, value)
        except redis.RedisError as error:
            raise ServerError(f"Redis at {self._url}: {error}; start it with `make serve`") from None


def replace_file(path: Path, content: str) -> None:
    """Write a file whole: readers see the old content or the new, never a part."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(content)
    draft.rename(path)
