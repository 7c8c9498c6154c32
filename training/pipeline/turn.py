"""One at a time writes a workspace's raw tables, clean tables and features: the daily run's stages and the hourly's."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from deploy.settings import Settings
from training.errors import BusyError
from training.lock import HeldError, held

FILE = "data.lock"
WAIT_S = 900.0  # for an hourly run to end


@contextmanager
def writing(settings: Settings, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the workspace's data, after at most `wait_s` seconds. Raises BusyError naming who writes."""
    path = settings.workspace / FILE
    with ExitStack() as lock:
        try:
            lock.enter_context(held(path))
        except HeldError as error:
            sys.stderr.write(f"waiting for pid {error.owner}, which writes {settings.workspace}\n")
            try:
                lock.enter_context(held(path, wait_s))
            except HeldError as still:
                raise BusyError(
                    f"{settings.workspace}: pid {still.owner} still writes tables or features after {wait_s:.0f} s; "
                    "run this again when that has ended"
                ) from None
        yield
