"""The reason shown for a death is the line a person would look for."""

from pathlib import Path

import pytest

from deploy.local.runtime.logs import reason

TRITON = """\
I1123 10:00:00.1 99 server.cc:604]
Error: Failed to initialize NVML
E1123 10:00:00.2 99 server.cc:241] "CudaDriverHelper has not been initialized."
E1123 10:00:00.3 99 main.cc:1] "failed to start HTTP service: Unavailable - Socket '127.0.0.1:8000' already in use"
I1123 10:00:00.4 99 server.cc:305] "Waiting for in-flight requests to complete."
"""
PYTHON = """\
Traceback (most recent call last):
  File "x.py", line 1, in <module>
    boom()
ModuleNotFoundError: No module named 'lightgbm'
"""
USAGE = "tritonserver: unrecognized option '--nope'\nUsage: tritonserver [options]\n  an error may result\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TRITON, "already in use"),
        (PYTHON, "ModuleNotFoundError: No module named 'lightgbm'"),
        (USAGE, "unrecognized option '--nope'"),
        ("one\n\ntwo\nthree\n", "two | three"),
        ("", "its log is empty"),
    ],
)
def test_reason(tmp_path: Path, text: str, expected: str) -> None:
    log = tmp_path / "server.log"
    log.write_text(text)
    assert expected in reason(log)
    assert "NVML" not in reason(log)


def test_a_log_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert reason(tmp_path / "none.log") == "its log is empty"
