"""What pip is configured to use, said in uv's words (uv does not read pip's configuration)."""

import ast
import os
import subprocess
from pathlib import Path

Options = dict[str, str]


def pip_options(python: Path) -> Options:
    """pip's effective options from its files and `PIP_*` variables, e.g. `{"find-links": "…"}`."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "config", "list"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return _parse(result.stdout) if result.returncode == 0 else {}


def uv_flags(options: Options) -> list[str]:
    """The same places as pip would look in, and all of them weighed together as pip does."""
    flags = [f"--find-links={place}" for place in options.get("find-links", "").split()]
    if index := options.get("index-url"):
        flags.append(f"--default-index={index}")
    extra = options.get("extra-index-url", "").split()
    if torch_index := os.environ.get("TORCH_INDEX_URL"):
        extra.append(torch_index)
    flags += [f"--index={place}" for place in extra]
    if _truth(options.get("no-index", "")):
        flags.append("--no-index")
    return [*flags, "--index-strategy=unsafe-best-match"] if extra else flags


def uv_environment(options: Options) -> dict[str, str]:
    """Variables for uv: pip's certificate and time-out, and nothing of an activated environment."""
    variables = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}
    if certificate := options.get("cert"):
        variables.setdefault("SSL_CERT_FILE", certificate)
    if timeout := options.get("timeout") or options.get("default-timeout"):
        variables.setdefault("UV_HTTP_TIMEOUT", timeout)
    return variables


def _parse(listing: str) -> Options:
    """Later lines win, except that install-time sections and the environment come after `global`."""
    options: Options = {}
    order = ("global.", "install.", ":env:.")
    for section in order:
        for line in listing.splitlines():
            key, _, value = line.partition("=")
            if key.startswith(section):
                options[key.removeprefix(section)] = str(ast.literal_eval(value))
    return options


def _truth(value: str) -> bool:
    return value.strip().lower() in ("1", "true", "yes", "on")
