"""SIGTERM in two steps: not ready at once, closed a while later, so that a balancer has looked elsewhere by then."""

import asyncio
import signal
import threading
from types import FrameType

from orchestrator.service import Service


def drain_first(service: Service, seconds: float) -> None:
    """Put `seconds` of answering, but not being ready, before what the server does on SIGTERM. Inside its loop.

    Nothing changes for 0 seconds, or where signals are not the server's (it runs in a thread).
    """
    closes = signal.getsignal(signal.SIGTERM)
    if seconds == 0 or not callable(closes) or threading.current_thread() is not threading.main_thread():
        return
    loop, close = asyncio.get_running_loop(), closes

    def drain(number: int, frame: FrameType | None) -> None:
        service.draining = True
        loop.call_soon_threadsafe(loop.call_later, seconds, close, number, frame)

    signal.signal(signal.SIGTERM, drain)
