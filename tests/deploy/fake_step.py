"""Stands in for a pipeline command: `python -m tests.deploy.fake_step works|fails|waits`."""

import sys
import time

from deploy.settings import load_settings


def main(verb: str) -> None:
    """Writes one line a run to `ran.txt` in the workspace."""
    workspace = load_settings().workspace
    with (workspace / "ran.txt").open("a") as ran:
        ran.write(verb + "\n")
    if verb == "fails":
        sys.exit("error: events.csv has no column user_id; add it")
    if verb == "waits":
        time.sleep(60)


if __name__ == "__main__":
    main(sys.argv[1])
