"""Real servers as child processes: start, wait, watch, stop, and leave nothing behind.

with Stack(settings) as stack:
    stack.start(RedisServer(settings))
    stack.start(TritonServer(settings))
    stack.watch()
"""

from deploy.local.errors import EarlyDeathError, NotReadyError, PlatformError, PortInUseError, WorkspaceInUseError
from deploy.local.runtime.api_server import ApiServer
from deploy.local.runtime.redis_server import RedisServer
from deploy.local.runtime.server import Server
from deploy.local.runtime.stack import Stack
from deploy.local.runtime.triton_server import TritonServer
from deploy.local.runtime.watchdog_server import WatchdogServer

__all__ = [
    "ApiServer",
    "EarlyDeathError",
    "NotReadyError",
    "PlatformError",
    "PortInUseError",
    "RedisServer",
    "Server",
    "Stack",
    "TritonServer",
    "WatchdogServer",
    "WorkspaceInUseError",
]
