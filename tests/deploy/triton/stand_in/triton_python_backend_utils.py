"""The module that Triton's stub provides, as far as loading a backend outside of Triton needs it."""


class TritonError(Exception):
    """An error answer."""
