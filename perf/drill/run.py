"""One drill after the other on one stack; between two the path must become whole again."""

import time
from collections.abc import Callable, Sequence

from deploy.settings import Settings
from perf.drill.bench import Bench, bench
from perf.drill.report import Drill, Report, Result

Told = Callable[[Result], None]


def run(settings: Settings, drills: Sequence[Drill], told: Told) -> list[Result]:
    """`told` hears of each. A drill that breaks off has failed; what it broke is repaired by the next recovery or not,
    and then they fail as well."""
    results = []
    with bench(settings) as stack:
        stack.recover()
        for drill in drills:
            results.append(_run(stack, drill))
            told(results[-1])
    return results


def _run(stack: Bench, drill: Drill) -> Result:
    report, began, deaths = Report(), time.monotonic(), stack.deaths
    try:
        drill.work(stack, report)
    except Exception as error:  # the others still run
        report.problems.append(f"{type(error).__name__}: {error}")
    report.expect(stack.deaths == deaths or drill.kills, "Triton died")
    _mend(stack, report)
    return Result(drill=drill, report=report, seconds=time.monotonic() - began)


def _mend(stack: Bench, report: Report) -> None:
    """Whole again, or it is the drill's fault."""
    try:
        report.figures["recovered_s"] = round(stack.recover(), 2)
    except Exception as error:
        report.problems.append(f"{type(error).__name__}: {error}")
        stack.restart_triton()


def as_document(results: Sequence[Result]) -> dict[str, object]:
    """For JSON."""
    return {
        "drills": [result.as_dict() for result in results],
        "passed": all(result.passed for result in results),
        "count": len(results),
        "count_passed": sum(result.passed for result in results),
    }
