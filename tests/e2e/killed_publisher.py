"""A publisher that ends by SIGKILL at a step: `python -m tests.e2e.killed_publisher 2 "load on Triton"`."""

import os
import signal
import sys

from deploy.settings import load_settings
from exporters.publish import publish


def main(number: str, last: str) -> None:
    """Publish until the step `last` begins."""

    def report(step: str) -> None:
        sys.stdout.write(f"{step}\n")
        sys.stdout.flush()
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)

    publish(load_settings(), int(number), report)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
