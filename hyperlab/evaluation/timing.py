"""How long something takes, and on what: the facts beside every speed we state."""

import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import torch

from ..base import ConfigError, printable


def median_s(function: Callable[[], object], *, repeats: int = 5) -> float:
    """Median seconds of `repeats` calls, after one that warms up.

    The accelerator, if there is one, is waited for on both sides of each call.
    """
    if repeats < 1:
        raise ConfigError(f"want at least one repeat, got {repeats}")
    function()
    return statistics.median(seconds(function) for _ in range(repeats))


def seconds(function: Callable[[], object]) -> float:
    """Seconds of one call; the accelerator is waited for on both sides."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    start = time.perf_counter()
    function()
    wait()
    return time.perf_counter() - start


def machine() -> dict[str, object]:
    """The processor, its cores, the threads torch uses and the accelerator."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "accelerator": device,
        "system": platform.system(),
        "python": platform.python_version(),
    }


def versions(names: Sequence[str]) -> dict[str, str]:
    """Installed version of each distribution; "absent" where there is none."""
    return {name: _version(name) for name in names}


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text(encoding="utf-8").splitlines() if info.exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def command() -> str:
    """The command line that runs, ready to be pasted: what stands beside every number."""
    return printable(shlex.join(["python", *sys.argv]))
