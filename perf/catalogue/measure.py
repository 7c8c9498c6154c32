"""A catalogue of a size, made and served: how long it took, what it takes, how well it finds, how fast it answers.

Every number is of the whole path over REST, all processes on this machine and the generator beside them. Embeddings
are warm: a user asked for twice is embedded once.
"""

from dataclasses import asdict, dataclass

from deploy.settings import Settings
from exporters.build import Report
from exporters.manifest import IndexFacts, read
from perf.catalogue.make import Made, made
from perf.control import control
from perf.load import ClosedLoop, OpenLoop, Outcome, Target, drive, find_knee
from perf.load.outcome import quantile
from perf.stack import serving
from perf.usage import cpu_seconds, resident_mib, spent
from perf.users import user_id

USERS = 20_000
USER_IDS = [user_id(number) for number in range(USERS)]
SKEW = 1.0  # Zipf exponent of how often a user asks
CLIENTS = (4, 8, 16)
SHARE = 0.6  # of the knee, at which latency is measured
SECONDS = 8.0
STEADY_S, WARM_UP_S = 30.0, 5.0
TAILS = {"p50": 0.5, "p99": 0.99}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A measured size. Rates in requests per second, latencies in milliseconds, memory in MiB (PSS).

    `saturation` counts full answers of clients that are always busy; `knee` is the highest open-loop rate with a p99
    below 100 ms and 99 % of the answers full. `control_ms` are p50 and p99 of a server that does nothing, meanwhile.

    `recall_on_triton` is of the golden users' answers against exact search over what sells everywhere; it and the
    steps of publishing are those of the run that published.
    """

    items: int
    index: IndexFacts
    recall_on_triton: float | None
    made: Made
    release_mib: float
    steps_s: dict[str, float]
    saturation: float
    knee: float
    rate: float
    p50_ms: float
    p99_ms: float
    degraded_share: float
    steady_s: float
    control_ms: dict[str, float]
    resident_mib: dict[str, float]
    cpu_ms: dict[str, float]
    generator_cpu_ms: float

    @property
    def resident_total_mib(self) -> float:
        """All processes of the stack."""
        return sum(self.resident_mib.values())

    def as_row(self) -> dict[str, object]:
        """For a table."""
        facts = self.index
        return {
            "items": f"{self.items:,}",
            "index": f"{facts.kind} {facts.codec} {facts.nlist}/{facts.nprobe}",
            "recall": round(facts.recall, 3),
            "made in s": round(self.made.seconds),
            "loaded in s": self.steps_s.get("load on Triton", "–"),
            "saturation": round(self.saturation),
            "knee": round(self.knee),
            "at": round(self.rate),
            "p50 ms": round(self.p50_ms, 1),
            "p99 ms": round(self.p99_ms, 1),
            "PSS MiB": round(self.resident_total_mib),
        }

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        shown = asdict(self) | {"index": self.index.model_dump(), "resident_total_mib": self.resident_total_mib}
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in shown.items()}


def measure(settings: Settings, rate: float | None, report: Report, steady_s: float = STEADY_S) -> Scale:
    """Serve the workspace's only release and look.

    Latency is measured at `rate`, or at 60 % of the knee, for `steady_s`, beside a server that does nothing.
    Raises PerfError, ExportError.
    """
    manifest = read(settings.releases / "1")
    with serving(settings, users=USERS) as run:
        asked = Target(host=settings.host, port=settings.api_port, users=USER_IDS, skew=SKEW)
        saturation = max(full_rate(drive(asked, ClosedLoop(clients=n, seconds=SECONDS, seed=n))) for n in CLIENTS)
        report(f"saturation {saturation:.0f} full answers/s")
        knee = find_knee(asked, first=OpenLoop(rate=saturation / 2, seconds=SECONDS)).rate
        at = rate or max(1.0, SHARE * knee)
        report(f"knee {knee:.0f} requests/s; latency at {at:.0f}")
        before = cpu_seconds(run.pids())
        with control(settings.host, steady_s + WARM_UP_S) as idle:
            steady = drive(asked, OpenLoop(rate=at, seconds=steady_s, warm_up_s=WARM_UP_S))
        after = cpu_seconds(run.pids())
        return Scale(
            items=manifest.index.items,
            index=manifest.index,
            recall_on_triton=run.golden.get("golden_recall"),
            made=made(settings),
            release_mib=sum(f.size for slot in manifest.slots.values() for f in slot.files.values()) / 2**20,
            steps_s=run.steps_s,
            saturation=saturation,
            knee=knee,
            rate=at,
            p50_ms=quantile(steady.latency_ms, 0.5),
            p99_ms=quantile(steady.latency_ms, 0.99),
            degraded_share=steady.degraded_share,
            resident_mib=resident_mib(run.pids()),
            steady_s=steady_s,
            control_ms={name: quantile(idle().latency_ms, share) for name, share in TAILS.items()},
            cpu_ms=spent(before, after, round(at * (steady_s + WARM_UP_S))),
            generator_cpu_ms=steady.generator_cpu_ms,
        )


def full_rate(outcome: Outcome) -> float:
    """Answers at full quality per second."""
    return outcome.answered_per_second * (1.0 - outcome.degraded_share)
