"""Errors of the exporters.

ExportError            exit code 2 and one line on stderr
├── GateError          an artifact differs from its source: nothing was published
├── ManifestError      a release folder is not what its manifest says
├── TrafficError       the change of traffic makes no sense: the message lists what would
├── BusyError          another publisher is at work
└── ServerError        Triton or Redis refused or did not answer: the old release still answers
"""


class ExportError(RuntimeError):
    """Base of everything the exporters refuse to do."""


class GateError(ExportError):
    """A parity or recall gate failed; the message gives the artifact, the figure and the limit."""


class ManifestError(ExportError):
    """A file is missing, extra, changed, or of a kind a release may not hold."""


class TrafficError(ExportError):
    """What was asked of the traffic record makes no sense; nothing changed."""


class BusyError(ExportError):
    """Another publisher holds the workspace; the message names its process."""


class ServerError(ExportError):
    """Triton or Redis refused or did not answer in time."""
