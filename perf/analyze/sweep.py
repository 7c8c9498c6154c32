"""The sweep: every target under every load, one run of perf_analyzer a point."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deploy.settings import Settings
from exporters.manifest import Manifest
from exporters.repository import RECOMMEND_VERSION
from exporters.server import Server
from model_repository.contract import MODELS, RANKER, RECOMMEND, STEPS, recommend_name
from perf.analyze.points import Client, Load, Point, Target
from perf.analyze.statistics import Reading, Served, difference
from perf.errors import PerfError
from perf.inputs import write_inputs
from training.dataset import Dataset
from training.lines import Line

NAMES = (*(model.name for model in MODELS), RECOMMEND.name)
Run = Callable[[Target, Load], Client]
Rest = Callable[[Served], Reading]


def targets(settings: Settings, manifest: Manifest, line: Line, names: Sequence[str] = NAMES) -> list[Target]:
    """The release's models by `names`, with the input data of each. Raises PerfError for an unknown name."""
    if unknown := sorted(set(names) - set(NAMES)):
        raise PerfError(f"--model {unknown[0]}: no such model; known: {', '.join(NAMES)}")
    server = Server(settings.triton_url)
    server.check()
    inputs = write_inputs(server, manifest, line, Dataset(settings.features), settings.workspace / "perf")
    return [_target(manifest, name, inputs[name]) for name in NAMES if name in names]


def sweep(aims: Sequence[Target], loads: Sequence[Load], run: Run, rest: Rest) -> Iterator[Point]:
    """A point for each target and load, in that order; one that fails carries its reason, and the sweep goes on.

    `rest` reads the counters of a Triton that has come to rest.
    """
    for aim in aims:
        for load in loads:
            try:
                yield _point(aim, load, run, rest)
            except PerfError as error:
                yield Point(model=aim.name, batch=aim.batch, load=load, error=str(error))


def _point(aim: Target, load: Load, run: Run, rest: Rest) -> Point:
    before = rest(aim.served)
    client = run(aim, load)
    after = rest(aim.served)
    stages = {served: difference(served[0], before[served], after[served]) for served in aim.served}
    return Point(
        model=aim.name,
        batch=aim.batch,
        load=load,
        client=client,
        own=stages[aim.name, aim.version],
        stages=tuple(stages[part] for part in aim.parts),
    )


def _target(manifest: Manifest, name: str, data: Path) -> Target:
    """The forest is asked for one request's candidates at once, everything else for one request."""
    if name == RECOMMEND.name:
        parts = tuple((manifest.slots[step.model.name].model, manifest.version(step.model.name)) for step in STEPS)
        ensemble = recommend_name(manifest.release)
        return Target(name=ensemble, version=RECOMMEND_VERSION, batch=1, data=data, parts=parts)
    slot = manifest.slots[name]
    batch = manifest.index.candidates if name == RANKER.name else 1
    return Target(name=slot.model, version=slot.version, batch=batch, data=data, parts=((slot.model, slot.version),))
