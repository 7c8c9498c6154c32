"""Every number of the request path, once: caps, weights, limits. Defaults here; tests and tuning pass their own."""

from dataclasses import dataclass, field, fields

from feature_repo.recent import MOST
from orchestrator.gate import GatePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """The longest each stage may take, as a share of the whole deadline."""

    read: float = 0.20
    features: float = 0.20  # Feast, only when the packed row is missing
    embed: float = 0.30
    queue: float = 0.25  # waiting for a place at the gate
    recommend: float = 0.65
    candidates: float = 0.30  # the direct call of rung L2
    answer: float = 0.10  # the kept answer of rung L3
    metadata: float = 0.10

    def __post_init__(self) -> None:
        for item in fields(self):
            if not 0 < getattr(self, item.name) <= 1:
                raise ValueError(f"cap {item.name} must be in (0, 1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserves:
    """What a stage leaves for those behind it, as a share of the whole deadline."""

    queue: float = 0.40
    embed: float = 0.25
    recommend: float = 0.22  # enough for a direct call to candidates
    candidates: float = 0.12
    answer: float = 0.06
    metadata: float = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend:
    """score = relevance·w + ctr·w + cvr·w + r/(r + revenue_scale)·w with r = ctr × cvr × price.

    All four terms lie in [0, 1]; `revenue_scale` is the expected revenue of one impression, in the catalogue's
    currency, that counts half.
    """

    relevance: float = 0.5
    ctr: float = 0.2
    cvr: float = 0.1
    revenue: float = 0.2
    revenue_scale: float = 1.0

    def __post_init__(self) -> None:
        if min(self.relevance, self.ctr, self.cvr, self.revenue) < 0 or self.revenue_scale <= 0:
            raise ValueError("weights must not be negative and revenue_scale must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class RulePolicy:
    """Freshness × (1 + boost·e^(−age/days)); at most `per_category` of one category in the first `window`."""

    blend: Blend = Blend()
    freshness_boost: float = 0.1
    freshness_days: float = 30.0
    per_category: int = 3
    window: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPolicy:
    """Recently shown items: a capped list for each user that forgets after `ttl_s`."""

    items: int = 200
    ttl_s: int = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPolicy:
    """Full answers kept for rung L3: `items` of each, for `ttl_s`; a user's is written again after `every_s`."""

    items: int = 40
    ttl_s: int = 6 * 3600
    every_s: float = 600.0
    users: int = 50_000  # whose last write is remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPolicy:
    """Events: how they are taken, how long they are remembered and what they hide. `items` packed actions a user."""

    max_in_flight: int = 16  # batches
    chunk: int = 100  # events written in one transaction
    timeout_s: float = 0.25
    claim_s: int = 10  # an id that is being written; longer than any batch takes
    seen_s: int = 24 * 3600
    future_s: float = 300.0
    past_s: float = 7 * 24 * 3600.0
    items: int = MOST
    ttl_s: int = 3 * 24 * 3600  # longer than rows are old without being flagged
    session_s: int = 24 * 3600
    hidden_s: float = 1800.0  # what the user just dealt with is not recommended
    purchase_hidden_s: float = 24 * 3600.0
    stream: int = 100_000  # entries, about 300 bytes each


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPolicy:
    """The impression log: a bounded queue, then a bounded stream, and a bounded file while Redis takes nothing."""

    queue: int = 2_000
    stream: int = 100_000  # entries, about 1.2 KB each
    spill_bytes: int = 64 << 20
    retry_s: float = 1.0  # between attempts to bring back what was spilled
    inputs: float = 0.01  # share of the answers whose raw inputs are logged


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """Open after `failures` in a row and `silent_s` without a success, for `open_s` (± a quarter); then one call
    at a time tries. The silence tells a dead peer from a busy one, some of whose calls still succeed."""

    failures: int = 5
    silent_s: float = 0.3
    open_s: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainPolicy:
    """Explanations are for whoever looks after the system: few `at_once`, and given up `deadline_s` after they began.
    `features` are named for each objective of an item."""

    at_once: int = 1
    deadline_s: float = 5.0
    features: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePolicy:
    """Spans wait in a `queue` of so many and are sent `batch` at a time, or every `every_s`. One send is given up after
    `export_s`, and at the end all that is left after `grace_s`."""

    queue: int = 4096
    batch: int = 512
    every_s: float = 1.0
    export_s: float = 2.0
    grace_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayPolicy:
    """How often the overlay is read, and how long one round trip may take to read or to write it."""

    every_s: float = 0.25
    read_s: float = 0.2
    write_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """When requests count as queueing before the event loop: it came round after more than `late_s` each time, for
    `patience_s` and so many rounds."""

    late_s: float
    patience_s: float
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LagPolicy:
    """The loop is looked at every `every_s`; `first` decides, or `again` within `memory_s` of a refusal."""

    every_s: float = 0.004
    memory_s: float = 1.0
    first: Standing = Standing(late_s=0.02, patience_s=0.1, rounds=3)
    again: Standing = Standing(late_s=0.008, patience_s=0.015, rounds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The whole policy. Times ending in `_s` are seconds."""

    deadline_s: float = 0.1
    caps: Caps = Caps()
    reserves: Reserves = Reserves()
    rules: RulePolicy = RulePolicy()
    shown: ShownPolicy = ShownPolicy()
    answers: AnswerPolicy = AnswerPolicy()
    breaker: BreakerPolicy = BreakerPolicy()
    events: EventPolicy = EventPolicy()
    log: LogPolicy = LogPolicy()
    overlay: OverlayPolicy = OverlayPolicy()
    gate: GatePolicy = field(default_factory=GatePolicy)
    explain: ExplainPolicy = ExplainPolicy()
    trace: TracePolicy = TracePolicy()
    max_in_flight: int = 64
    lag: LagPolicy = LagPolicy()
    embedding_ttl_s: int = 3600
    written_row_ttl_s: int = 3600  # a row that came through Feast; the next materialisation replaces it
    unknown_user_ttl_s: float = 60.0
    stale_features_s: float = 48 * 3600.0
    metadata_ttl_s: float = 300.0
    metadata_items: int = 50_000
    known_users: int = 10_000  # last-known rows and embeddings kept in memory for when Redis is away
    write_queue: int = 2_000  # background commands
    popular_every_s: float = 900.0
    traffic_every_s: float = 0.5
    redis_connect_s: float = 0.1
    grpc_message_bytes: int = 64 << 20
    feast_lookups: int = 4  # at once
    body_s: float = 5.0
    drain_s: float = 0.0
