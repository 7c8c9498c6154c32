"""A refresh that ends by SIGKILL at a step: `python -m tests.e2e.killed_refresh "send its users"`."""

import os
import signal
import sys

from deploy.settings import load_settings
from exporters.refresh import Options, refresh


def main(last: str) -> None:
    """Refresh until the step that begins with `last`."""

    def report(step: str) -> None:
        sys.stdout.write(f"{step}\n")
        sys.stdout.flush()
        if step.startswith(last):
            os.kill(os.getpid(), signal.SIGKILL)

    refresh(load_settings(), report, Options())


if __name__ == "__main__":
    main(sys.argv[1])
