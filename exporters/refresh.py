"""The hourly refresh: a new generation of every line that users are sent to, or that a rollback would go to.

    features as of now ── items that are new or changed: encoded by the served item tower ┐
                          the others: the vectors of the generation before ───────────────┴─ index, item table
    gates ── publish ── the same arm, the same share ── the generation before retires

A refresh writes candidates/N and recommend_N, the traffic record, the popular items and what changed of what is shown.
Users' embeddings stay cached: their key carries the tower, not the release. Killed anywhere, the next run goes on.
"""  # fmt: skip

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from deploy.settings import Settings
from exporters.build import TrainedCatalogue, load_catalogue
from exporters.embeddings import Embeddings, Encode, ServedTower, forget_towers
from exporters.errors import ExportError, GateError, ManifestError, TrafficError
from exporters.generation import fingerprint, fingerprint_of
from exporters.lock import publishing
from exporters.manifest import Manifest, read, release_numbers
from exporters.publish import publish, served
from exporters.rebuild import rebuild
from exporters.retire import GRACE_S, retire
from exporters.rollout import replaced
from exporters.server import Server
from exporters.shift import shift
from exporters.table import ItemTable
from exporters.targets import targets, trained_line
from exporters.traffic import TrafficStore
from feature_repo.store import StoreError
from feature_repo.vectors import Floats
from model_repository.contract import CANDIDATE_SEARCH, ITEM_TOWER
from model_repository.traffic import ServedRelease

Report = Callable[[str], None]
LEAST_ITEMS = 0.9  # of the generation before
Outcome = Literal["unchanged", "changed", "refreshed", "built", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`triton`: the servers that have the new release, where Triton loads nothing itself. `keep` leaves the generations
    before loaded, so that a rollback may go to them."""

    dry_run: bool = False
    allow_shrink: bool = False
    keep: bool = False
    triton: Sequence[str] = ()
    grace_s: float = GRACE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """What became of one line: its release before and after, how many of the items were encoded anew, and why.

    `carried`: users are sent to it; otherwise it is where a rollback would go. `changed` is what a dry run says;
    `built` waits for servers that have the release.
    """

    line: int
    before: int
    outcome: Outcome
    carried: bool
    release: int | None = None
    items: int = 0
    encoded: int = 0
    reason: str = ""
    figures: dict[str, float] = field(default_factory=dict)


def refresh(settings: Settings, report: Report, options: Options) -> list[Refreshed]:
    """Refresh every line, the champion's first. Returns what became of each.

    A line that cannot be refreshed keeps its generation; the others go on. Raises TrafficError when nothing carries
    traffic yet, and where a refresh would undo what a person decided (`targets`).
    """
    with publishing(settings):
        work = _Work(settings, report, options)
        traffic = work.store.require()
        done = [work.line(before, before.release in traffic.carried) for before in targets(traffic)]
        if not options.dry_run:
            forget_towers(settings.embeddings, {r.tower_digest for r in work.store.require().releases})
        return done


def require_refreshed(done: Sequence[Refreshed]) -> None:
    """Raise ExportError when a line that users are sent to was refused."""
    if refused := [f"line {r.line}: {r.reason}" for r in done if r.outcome == "refused" and r.carried]:
        raise ExportError("; ".join(refused))


def require_size(items: int, before: int, allow_shrink: bool) -> None:
    """Raise GateError when the catalogue lost too much since the generation before."""
    if items < LEAST_ITEMS * before and not allow_shrink:
        raise GateError(
            f"the catalogue has {items} items, the generation before has {before}; if that is right, say --allow-shrink"
        )


@dataclass(frozen=True)
class _Work:
    """One run over all lines."""

    settings: Settings
    report: Report
    options: Options

    @cached_property
    def store(self) -> TrafficStore:
        return TrafficStore(self.settings)

    @cached_property
    def catalogue(self) -> tuple[ItemTable, Floats]:
        self.report("read the catalogue as of now")
        try:
            return load_catalogue(self.settings)
        except StoreError as error:
            raise ExportError(str(error)) from None

    def line(self, before: ServedRelease, carried: bool) -> Refreshed:
        """Refresh the line of a release, or say why not."""
        told = Refreshed(line=before.line, before=before.release, outcome="refused", carried=carried)
        try:
            return self._line(before, told)
        except ExportError as error:
            return replace(told, reason=str(error))

    def _line(self, before: ServedRelease, told: Refreshed) -> Refreshed:
        self.report(f"line {before.line}, release {before.release}")
        manifest = read(self._folder(before.release))
        line = trained_line(self.settings, manifest)
        table, content = self.catalogue
        require_size(len(table), manifest.index.items, self.options.allow_shrink)
        known = Embeddings(self.settings.embeddings / line.tower_digest, table.keys, table.features, content)
        told = replace(told, items=len(table), encoded=len(known.missing))
        if self.options.dry_run and not known.current:
            return replace(told, outcome="changed")
        self.report(f"encode {told.encoded} of {told.items} items")
        source = TrainedCatalogue(self.settings, table, known.vectors(self._tower(before, manifest)))
        wanted = fingerprint(source)
        if self._fingerprint(before.release) == wanted:
            self._retire_earlier(before)
            return replace(told, outcome="unchanged", release=before.release)
        if self.options.dry_run:
            return replace(told, outcome="changed")
        number = self._built(manifest, wanted)
        if number is None:
            number = int(rebuild(self.settings, manifest, line, source, self.report).name)
        return self._take_over(before, number, replace(told, release=number))

    def _take_over(self, before: ServedRelease, number: int, told: Refreshed) -> Refreshed:
        """Publish what was built, and give it the users of the generation before."""
        endpoints = self.options.triton or (before.triton if self.settings.triton_control == "explicit" else ())
        if not endpoints:
            what = f"start servers on `stage {number} FOLDER`, then `refresh --triton host:port`"
            return replace(told, outcome="built", reason=what)
        figures = publish(self.settings, number, self.report, endpoints)
        release = served(read(self._folder(number)), endpoints)
        self.report("send its users")
        shift(self.settings, lambda record: replaced(record, before.release, release, f"was {before.release}"))
        self._retire_earlier(release)
        return replace(told, outcome="refreshed", figures=figures)

    def _retire_earlier(self, current: ServedRelease) -> None:
        """Retire the line's earlier generations; one that somebody still calls is left to gc."""
        record = self.store.require()
        spare = [r.release for r in record.releases if r.line == current.line and r.release < current.release]
        for number in () if self.options.keep or self.options.dry_run else spare:
            try:
                retire(self.settings, number, self.report, self.options.grace_s)
            except TrafficError as error:
                self.report(str(error))

    def _tower(self, before: ServedRelease, manifest: Manifest) -> Encode:
        batch = ITEM_TOWER.placement(self.settings.profile).max_batch
        server = Server(before.triton[0], self.settings.triton_key)
        return ServedTower(server=server, slot=manifest.slots[ITEM_TOWER.name], batch=batch)

    def _built(self, before: Manifest, wanted: str) -> int | None:
        """The release that an interrupted run built of this very catalogue."""
        later = [n for n in release_numbers(self.settings.releases) if n > before.release]
        for number in reversed(later):
            with suppress(ManifestError, OSError, ValueError):
                found = read(self._folder(number))
                same = (found.line, found.tower_digest) == (before.line, before.tower_digest)
                if same and self._fingerprint(number) == wanted:
                    return number
        return None

    def _fingerprint(self, number: int) -> str | None:
        return fingerprint_of(self._folder(number) / CANDIDATE_SEARCH.name)

    def _folder(self, number: int) -> Path:
        return self.settings.releases / str(number)
