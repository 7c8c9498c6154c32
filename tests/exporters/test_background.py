"""Publishing has time; who rolls back has not."""

import os
import subprocess
import sys

import pytest

from deploy.settings import ROOT
from exporters.background import PATIENT

ASK = "import os, exporters.__main__; print(os.sched_getscheduler(0))"


@pytest.mark.parametrize(
    ("command", "policy"),
    [*((name, os.SCHED_IDLE) for name in PATIENT), ("rollback", os.SCHED_OTHER), ("promote", os.SCHED_OTHER)],
)
def test_only_commands_with_time_give_way(command: str, policy: int) -> None:
    done = subprocess.run([sys.executable, "-c", ASK, command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) == policy
