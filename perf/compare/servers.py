"""The contestants of the whole path: the stack and the peers, all started, one under load at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from deploy.local.processes.ports import free_port
from deploy.settings import Settings
from feature_repo.rows import unpack_user_row
from feature_repo.store import connect
from perf.load import ClosedLoop, Outcome, Target, drive
from perf.load.answer import OK, UNDEGRADED
from perf.memory import tree
from perf.peers import SERVERS
from perf.peers.feast_items import open_items, write_items
from perf.peers.models import Release, embed
from perf.peers.naive import embedding_key
from perf.peers.server import PeerServer
from perf.peers.subset import Subset
from perf.stack import Serving
from perf.usage import Pids, cpu_seconds, spent
from perf.users import packed_rows, user_id

TRIDENT = "trident"
TIMEOUT_S = 10.0
EMBEDDING_TTL_S = 3600
BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One closed loop: full answers per second, CPU ms per request by role, the generator's own, others' share."""

    rate: float
    cpu_ms: dict[str, float]
    generator_ms: float
    less_than_full: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A server that answers the route; `pids` are its processes by role, shared Redis included."""

    name: str
    target: Target
    pids: Callable[[], Pids]

    def turn(self, clients: int, seconds: float) -> Turn:
        """Load it for so long; the first quarter fills the clients' pipelines and does not count for the rate."""
        pids = self.pids()
        before = cpu_seconds(pids)
        outcome = drive(self.target, ClosedLoop(clients=clients, seconds=seconds, warm_up_s=0.0))
        return Turn(
            rate=full_rate(outcome, seconds / 4),
            cpu_ms=spent(before, cpu_seconds(pids), len(outcome)),
            generator_ms=outcome.generator_cpu_ms,
            less_than_full=1 - sum(outcome.degraded.get(level, 0) for level in UNDEGRADED) / max(len(outcome), 1),
        )


def full_rate(outcome: Outcome, skip_s: float) -> float:
    """Answers at full quality per second that came between `skip_s` and the end of the run."""
    full = [answer.status == OK and answer.level in UNDEGRADED for answer in outcome.answers]
    came = outcome.done_s[[full[i] for i in outcome.answer]]
    return float(((came >= skip_s) & (came < outcome.seconds)).sum() / (outcome.seconds - skip_s))


@contextmanager
def without_snapshots(settings: Settings) -> Iterator[None]:
    """Redis writes no snapshot inside the block: the process that does so would share the machine."""
    with connect(settings) as client:
        before = client.config_get("save")["save"]
        client.config_set("save", "")
        try:
            yield
        finally:
            client.config_set("save", before)


@contextmanager
def contestants(serving: Serving, users: Sequence[str]) -> Iterator[dict[str, Contestant]]:
    """Trident and every peer, warm and idle, over the same release and Redis; `users` are who asks."""
    settings, release = serving.settings, Release.newest(serving.settings)
    items = Subset.of(release.folder)
    write_items(open_items(settings), settings, items.ids, items.features)
    redis_pid = serving.redis.pid
    with ExitStack() as held:
        everybody = {TRIDENT: Contestant(name=TRIDENT, target=target(serving.api.settings, users), pids=serving.pids)}
        for name in SERVERS:
            server = held.enter_context(PeerServer(settings, name, free_port(settings.host)))
            everybody[name] = Contestant(
                name=name, target=target(server.settings, users), pids=_roles(name, server, redis_pid)
            )
        yield everybody


def target(settings: Settings, users: Sequence[str]) -> Target:
    """The route of the server with these settings."""
    return Target(host=settings.host, port=settings.api_port, users=users, timeout_s=TIMEOUT_S)


def cache_embeddings(settings: Settings, users: int) -> list[str]:
    """Put the embeddings of the first `users` made-up users into Redis, as the orchestrator caches them; their ids."""
    release, ids = Release.newest(settings), [user_id(number) for number in range(users)]
    vectors = embed(release, [unpack_user_row(row).values for row in packed_rows(settings)])
    with connect(settings) as client:
        for start in range(0, users, BATCH):
            pipeline = client.pipeline(transaction=False)
            for number in range(start, min(start + BATCH, users)):
                vector = vectors[number % len(vectors)].tobytes()
                pipeline.set(embedding_key(release.manifest, ids[number]), vector, ex=EMBEDDING_TTL_S)
            pipeline.execute()
    return ids


def _roles(name: str, server: PeerServer, redis_pid: int) -> Callable[[], Pids]:
    return lambda: {"redis": [redis_pid], name: tree(server.pid)}
