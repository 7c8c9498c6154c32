"""Whether the arms really got their shares of the users: the sample-ratio test, from the impression log.

Users, not answers, are what is split. A mismatch means that assignment or logging is broken and no comparison of the
arms can be believed: Fabijan et al., "Diagnosing Sample Ratio Mismatch in Online Controlled Experiments", KDD 2019.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import orjson
from scipy.stats import chisquare

from model_repository.traffic import Traffic

ALARM = 0.001  # p-value, as usual for this test
FOLLOWED_S = 2.0  # after a change every orchestrator follows it


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposures:
    """Distinct users by variant since `since` (unix seconds), those seen in more than one, and the test's p-value."""

    users: Mapping[str, int]
    in_two: int
    p_value: float
    since: float

    @property
    def alarm(self) -> bool:
        """Whether the shares cannot be what the record says, or somebody changed sides."""
        return self.p_value < ALARM or self.in_two > 0


def begin(traffic: Traffic) -> float:
    """The unix second from which the record is followed everywhere."""
    return traffic.changed.at.timestamp() + FOLLOWED_S


def exposures(log: Iterable[bytes], traffic: Traffic) -> Exposures:
    """The test over the log's entries from the record's last change on; what is no impression is skipped."""
    since = begin(traffic)
    variant_of: dict[int, str] = {}
    in_two: set[int] = set()
    known = {arm.variant for arm in traffic.arms}
    for user, variant in _lines(log, since):
        if variant in known and variant_of.setdefault(user, variant) != variant:
            in_two.add(user)
    users = {arm.variant: 0 for arm in traffic.arms}
    for variant in variant_of.values():
        users[variant] = users.get(variant, 0) + 1
    return Exposures(users=users, in_two=len(in_two), p_value=sample_ratio(users, shares(traffic)), since=since)


def shares(traffic: Traffic) -> dict[str, float]:
    """Each arm's share of the users."""
    return {arm.variant: arm.share for arm in traffic.arms}


def sample_ratio(users: Mapping[str, int], wanted: Mapping[str, float]) -> float:
    """p-value of Pearson's chi-square test that users fell into variants by `wanted`; 1 where nothing can be tested."""
    total = sum(users.values())
    if total == 0 or len(wanted) < 2:
        return 1.0
    return float(chisquare([users[v] for v in wanted], [total * share for share in wanted.values()]).pvalue)


def _lines(log: Iterable[bytes], since: float) -> Iterator[tuple[int, str]]:
    """Hash of the user and variant of every impression since then."""
    for line in log:
        try:
            entry = orjson.loads(line)
            at, user, variant = float(entry["at"]), str(entry["user_id"]), str(entry["variant"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            continue
        if at >= since:
            yield int.from_bytes(hashlib.blake2b(user.encode(), digest_size=8).digest(), "big"), variant
