"""Load on the REST API: how it answers, from which release, how soon after it was asked, and up to which rate.

Why a generator of our own: wrk, hey and h2load keep a fixed number of clients busy, so a stall hides the requests it
would have hit; vegeta's arrivals are evenly spaced and it measures from the actual send; k6 and locust cost several
times the CPU, on the cores that are measured. None reads the release and the degraded level out of the answer.

`drive(Target(...), OpenLoop(rate=500))` sends on schedule whatever happens and counts latency from the intended send
time (coordinated omission: Tene, "How NOT to Measure Latency", 2013); `ClosedLoop` measures saturation; `find_knee`
searches the highest rate within a latency limit. On the command line: `python -m perf load`.
"""

from perf.load.drive import drive
from perf.load.knee import Knee, Probe, find_knee
from perf.load.outcome import Outcome
from perf.load.schedule import Arrivals, ClosedLoop, OpenLoop
from perf.load.target import Target, known_users

__all__ = [
    "Arrivals",
    "ClosedLoop",
    "Knee",
    "OpenLoop",
    "Outcome",
    "Probe",
    "Target",
    "drive",
    "find_knee",
    "known_users",
]
