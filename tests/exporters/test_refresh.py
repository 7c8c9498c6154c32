"""Which lines are refreshed, what is refused, and that a generation builds its predecessor's index while that does."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from exporters.errors import ExportError, GateError, TrafficError
from exporters.generation import Choices, Chunk, fingerprint, fingerprint_of, write_generation
from exporters.manifest import IndexFacts
from exporters.refresh import Refreshed, require_refreshed, require_size
from exporters.rollout import canaried, listed, promoted, retired, rolled_back
from exporters.targets import targets
from model_repository.traffic import Traffic
from tests.exporters.test_catalogue import Chunked, D, K, N, part, table, unit_vectors, users
from tests.exporters.test_rollout import release

IVF = IndexFacts(
    kind="ivf", codec="fp16", items=N, dimension=D, candidates=K, nlist=4, nprobe=3, recall=0.97, bytes_per_item=40,
    milliseconds=0.125,
)  # fmt: skip


def two_lines() -> Traffic:
    """Line 2 is champion with release 3, line 1 was before, with releases 1 and, newer, 2."""
    first = listed(listed(None, release(1, 1)), release(2, 1))
    return promoted(listed(first, release(3, 2)), 3)


def numbers(traffic: Traffic) -> list[int]:
    return [before.release for before in targets(traffic)]


def test_the_champion_and_where_a_rollback_would_go() -> None:
    assert numbers(listed(None, release(1, 1))) == [1]
    assert numbers(two_lines()) == [3, 2]


def test_the_canary_as_well_and_who_is_only_listed_not() -> None:
    record = listed(two_lines(), release(4, 3))
    assert numbers(record) == [3, 2]
    assert numbers(canaried(record, 4, 0.1)) == [3, 4, 2]


def test_a_line_is_refreshed_once() -> None:
    assert numbers(canaried(two_lines(), 2, 0.1)) == [3, 2]  # the canary is where a rollback would go
    earlier = promoted(listed(listed(None, release(1, 1)), release(2, 1)), 2)
    assert numbers(earlier) == [2]  # a rollback would go to the generation before


def test_two_generations_that_are_compared_stay_as_they_are() -> None:
    record = canaried(listed(listed(None, release(1, 1)), release(2, 1)), 2, 0.1)
    with pytest.raises(TrafficError, match="releases 1 and 2 of line 1 both carry traffic"):
        targets(record)


def test_a_rollback_to_the_generation_before_is_not_undone() -> None:
    record = listed(listed(None, release(1, 1)), release(2, 1))
    assert numbers(record) == [1]  # published and never carried anybody: an interrupted refresh left it
    back = rolled_back(promoted(record, 2))
    with pytest.raises(TrafficError, match="line 1 was rolled back from release 2 to 1; `retire 2`"):
        targets(back)
    assert numbers(retired(back, 2)) == [1]


def test_a_catalogue_that_lost_too_much_is_refused() -> None:
    require_size(90, 100, allow_shrink=False)
    with pytest.raises(GateError, match=r"89 items, the generation before has 100.*--allow-shrink"):
        require_size(89, 100, allow_shrink=False)
    require_size(0, 100, allow_shrink=True)


def test_only_a_line_with_users_makes_the_run_fail() -> None:
    spare = Refreshed(line=1, before=1, outcome="refused", carried=False, reason="other codes")
    require_refreshed([spare, Refreshed(line=2, before=2, outcome="unchanged", carried=True)])
    with pytest.raises(ExportError, match="line 3: no Triton"):
        require_refreshed([spare, Refreshed(line=3, before=3, outcome="refused", carried=True, reason="no Triton")])


def build(folder: Path, previous: IndexFacts | None, **more: object) -> tuple[IndexFacts, list[str]]:
    told: list[str] = []
    choices = Choices(**{"kind": None, "memory_bytes": 2.0**30, "candidates": K, "previous": previous, **more})  # type: ignore[arg-type]
    folder.mkdir()
    return write_generation(folder, Chunked(), users(), choices, "digest", told.append), told


def measured(told: list[str]) -> bool:
    return any(" ms, " in step for step in told)


def test_a_generation_builds_the_index_of_the_one_before(tmp_path: Path) -> None:
    facts, told = build(tmp_path / "again", IVF)
    assert (facts.kind, facts.codec, facts.nlist, facts.milliseconds) == ("ivf", "fp16", 4, 0.125)
    assert facts.recall >= 0.95
    assert not measured(told)


@pytest.mark.parametrize(
    "previous",
    [
        IVF.model_copy(update={"candidates": K + 1}),
        IVF.model_copy(update={"nlist": 8}),  # more lists than this catalogue can teach
        IVF.model_copy(update={"bytes_per_item": 1, "dimension": 2**26}),  # more memory than there may be
    ],
)
def test_it_is_chosen_again_where_it_does_not_fit(tmp_path: Path, previous: IndexFacts) -> None:
    facts, told = build(tmp_path / "anew", previous)
    assert measured(told)
    assert facts.recall >= 0.95
    assert facts.dimension == D


def test_it_is_chosen_again_where_it_became_slow(tmp_path: Path) -> None:
    facts, told = build(tmp_path / "anew", IVF.model_copy(update={"nprobe": 1}))
    assert any("no longer does" in step for step in told)
    assert measured(told)
    assert facts.recall >= 0.95
    assert len(np.load(tmp_path / "anew" / "keys.npy")) == N


def test_what_is_asked_for_goes_before_what_was(tmp_path: Path) -> None:
    facts, _ = build(tmp_path / "asked", IVF, kind="flat")
    assert facts.kind == "flat"


class Other(Chunked):
    """The catalogue with one thing changed."""

    def __init__(self, what: str) -> None:
        self._what = what

    def chunks(self) -> Iterator[Chunk]:
        whole, vectors = table(), unit_vectors(N, 1)
        if self._what == "vectors":
            vectors[-1, -1] += 1e-6
        elif self._what == "display":
            whole.display[-1]["title"] = "another"
        elif self._what == "regions":
            whole.regions[-1] = ("PT",)
        elif self._what in ("features", "rules"):
            getattr(whole, self._what)[-1, -1] += 1
        for rows in (slice(0, 7), slice(7, 250), slice(250, N)):
            yield part(whole, rows), vectors[rows]


def test_a_generation_knows_what_it_was_built_from(tmp_path: Path) -> None:
    build(tmp_path / "one", IVF)
    assert fingerprint_of(tmp_path / "one") == fingerprint(Chunked()) == fingerprint(Other("nothing"))
    changes = ("vectors", "display", "regions", "features", "rules")
    assert len({fingerprint(Chunked()), *(fingerprint(Other(what)) for what in changes)}) == 1 + len(changes)
