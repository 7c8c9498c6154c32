"""What `nvidia-smi` says about GPU 0: facts for every figure, and memory in use. Nothing is changed through it."""

import subprocess
from collections.abc import Mapping

from perf.gpu.device import AbsentError

FIELDS = {
    "name": "name", "uuid": "uuid", "driver": "driver_version", "memory_mib": "memory.total",
    "memory_used_mib": "memory.used", "sm_mhz": "clocks.sm", "sm_mhz_max": "clocks.max.sm",
    "memory_mhz": "clocks.mem", "memory_mhz_max": "clocks.max.mem", "power_limit_w": "power.limit",
    "temperature_c": "temperature.gpu", "mig": "mig.mode.current", "persistence": "persistence_mode",
    "pcie_generation": "pcie.link.gen.current", "pcie_width": "pcie.link.width.current",
}  # fmt: skip
NUMBERS = {key for key in FIELDS if key.split("_")[-1] in {"mib", "mhz", "max", "w", "c", "generation", "width"}}


def query() -> dict[str, object]:
    """Every field of `FIELDS`; a value the GPU does not report is None. Raises AbsentError without a GPU."""
    command = ["nvidia-smi", "-i", "0", f"--query-gpu={','.join(FIELDS.values())}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AbsentError(f"no NVIDIA driver answers ({error}); use --device cpu") from None
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split())
        raise AbsentError(f"nvidia-smi reports no usable GPU: {said[:300]}; use --device cpu")
    return parse(done.stdout)


def parse(line: str) -> dict[str, object]:
    """One line of `--format=csv,noheader,nounits` by `FIELDS`."""
    values = [value.strip() for value in line.strip().splitlines()[0].split(", ")]
    return {key: _value(key, value) for key, value in zip(FIELDS, values, strict=True)}


def used_mib(facts: Mapping[str, object]) -> float:
    """Memory in use, 0 where the GPU does not report it (some MIG slices)."""
    return float(str(facts["memory_used_mib"] or 0))


def _value(key: str, value: str) -> object:
    if value.startswith("[") or value == "N/A":
        return None
    return float(value) if key in NUMBERS else value
