"""Why the local runtime refuses or stops.

PlatformError             one line for the person; exit 1
├── PortInUseError         nothing was started; free the port or choose another
├── WorkspaceInUseError    nothing was started; another stack runs on this workspace
├── EarlyDeathError        a server ended by itself; its log says why
├── NotReadyError          a server or model did not become ready in time
└── StepError              a step of the pipeline failed; what is complete stays complete
"""


class PlatformError(Exception):
    """Base of everything the local runtime reports; the message is one line."""


class PortInUseError(PlatformError):
    """A wanted port already has a listener."""


class WorkspaceInUseError(PlatformError):
    """Another stack holds the workspace."""


class EarlyDeathError(PlatformError):
    """A server ended although nobody asked it to."""


class NotReadyError(PlatformError):
    """Something alive did not become ready in time."""


class StepError(PlatformError):
    """A step of the pipeline failed; its log says why."""
