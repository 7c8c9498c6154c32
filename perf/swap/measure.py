"""The whole measurement: serve the pair, find the knee, swap at a share of it."""

from dataclasses import dataclass

from deploy.settings import Settings
from exporters.build import Report
from exporters.generation import Source
from exporters.retire import retire
from exporters.traffic import TrafficStore
from perf.catalogue.forest import Trees
from perf.catalogue.source import SyntheticCatalogue, Trained
from perf.load import OpenLoop, Target, find_knee
from perf.stack import serving
from perf.swap.check import Checker, nearest, user_rows
from perf.swap.cycle import Swaps
from perf.swap.pair import STAMPS, Rotated, make_pair, rotation
from perf.swap.run import swap_under_load
from perf.users import user_id
from training.lines import Line, latest

USERS = 400  # whose nearest items are known
SECONDS = 6.0
FIRST = 60.0
AGAIN = 4  # swaps at a share of one knee


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The swaps, and the knees that their rates are a share of (none where the rate was given)."""

    items: int
    knees: tuple[float, ...]
    swaps: Swaps

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**self.swaps.as_dict(), "items": self.items, "knees": [round(knee, 1) for knee in self.knees]}


def measure(
    trained: Settings, items: int, trees: Trees | None, count: int, rate: float | None, share: float, seed: int,
    report: Report,
) -> Measured:  # fmt: skip
    """Make the pair from the workspace `trained`, serve one and swap `count` times. Raises PerfError, ExportError."""
    settings = make_pair(trained, items, trees, report, seed)
    report(f"the nearest items of {USERS} users in both releases")
    checker = checker_of(trained, settings, items, seed)
    with serving(settings, users=USERS) as run:
        _retire_the_rest(settings, report)
        users = [user_id(number) for number in range(USERS)]
        asked = Target(host=settings.host, port=settings.api_port, users=users, check=checker)
        report(f"{run.url}: swapping {count} times")
        rates = _Rates(asked, rate, share, report)
        swaps = swap_under_load(settings, asked, rates, count, report)
        return Measured(items=items, knees=tuple(rates.knees), swaps=swaps)


class _Rates:
    """The rate of each swap: the one that was said, or the share of a knee that is found anew every so often, because
    what a shared machine can do changes within minutes."""

    def __init__(self, target: Target, rate: float | None, share: float, report: Report) -> None:
        self.knees: list[float] = []
        self._target, self._rate, self._share, self._report = target, rate, share, report

    def __call__(self, number: int) -> float:
        if self._rate is not None:
            return self._rate
        if number % AGAIN == 0:
            self.knees.append(find_knee(self._target, first=OpenLoop(rate=FIRST, seconds=SECONDS)).rate)
            self._report(f"the knee is at {self.knees[-1]:.0f} requests/s")
        return self._share * self.knees[-1]


def _retire_the_rest(settings: Settings, report: Report) -> None:
    """What an interrupted run left loaded: each swap is to load anew."""
    traffic = TrafficStore(settings).require()
    for served in traffic.releases:
        if served.release not in traffic.carried:
            retire(settings, served.release, report)


def checker_of(base: Settings, settings: Settings, items: int, seed: int) -> Checker:
    """The checker of the pair in `settings` that was made from `base` with this seed."""
    trained = Trained.read(base, latest(base.lines))
    users = user_rows(settings, USERS)
    plain = {number: SyntheticCatalogue(trained, items, seed, prefix=stamp) for number, stamp in STAMPS.items()}
    sources: dict[int, Source] = {1: plain[1], 2: Rotated(plain[2], rotation(seed))}
    return Checker({n: nearest(Line(n, settings.lines / str(n)), source, users) for n, source in sources.items()})
