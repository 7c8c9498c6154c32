"""A program that answers as perf_analyzer does, beside the code that runs the real one.

Its behaviour follows from the load it is asked for: concurrency 13 fails, 14 reports nothing, 15 never ends, a rate of
1000 is not kept; anything else is answered with the figures of a run of the real one.
"""

import sys
from pathlib import Path

from perf.binary import Binary

COLUMNS = (
    "Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,Server Compute Infer,"
    "Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency,request/response,response wait"
)
SAID = "Request concurrency: 1\n  Client: \n    Request count: 3536\n    Throughput: 245017 infer/sec\n"
RANKER = "245017,25,379,50,45,1307,220,2,1915,2252,2471,5120,27,1986"
DELAYED = (
    "[WARNING] Perf Analyzer was not able to keep up with the desired request rate. "
    "15.31% of the requests were delayed."
)
SCRIPT = f"""#!{sys.executable}
import sys, time
words = sys.argv[1:]
mode = "Concurrency" if "--concurrency-range" in words else "Request Rate"
value = words[words.index("--concurrency-range" if mode == "Concurrency" else "--request-rate-range") + 1]
if value == "13":
    print("error: Failed to init manager inputs: missing tensor input__0 ( Location stream id: 0 )\\n", file=sys.stderr)
    sys.exit(99)
if value == "15":
    time.sleep(600)
print({SAID!r})
if value == "1000":
    print({DELAYED!r})
with open(words[words.index("-f") + 1], "w") as file:
    file.write(mode + ",{COLUMNS}\\n")
    if value != "14":
        file.write(value + ",{RANKER}\\n")
"""


def install(folder: Path) -> Binary:
    """The program in a folder, as `perf.binary.obtain` would hand it out."""
    path = folder / "perf_analyzer"
    path.write_text(SCRIPT)
    path.chmod(0o755)
    return Binary(path=path, libraries=folder, version="0.0.0")
