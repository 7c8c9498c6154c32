"""Triton's model control behind a key: which of its APIs ask for it, and under which header.

Whoever reaches the load API runs code. With a key, Triton answers these APIs only to calls that carry it; inference,
health, metadata and statistics stay open.
"""

RESTRICTED = ("model-repository", "shared-memory", "trace", "logging")
KEY_NAME = "control-key"
GRPC_HEADER = f"triton-grpc-protocol-{KEY_NAME}"  # Triton adds the prefix itself


def server_flags(key: str) -> tuple[str, str]:
    """The options of `tritonserver` that restrict both protocols to `key`."""
    apis = ",".join(RESTRICTED)
    return f"--grpc-restricted-protocol={apis}:{KEY_NAME}={key}", f"--http-restricted-api={apis}:{KEY_NAME}={key}"
