"""What numbers were measured on, as they are published beside them."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_GIB = 2**30


def machine() -> dict[str, Any]:
    """Processor, cores, memory, load and GPU of this machine."""
    import torch

    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB, 1),
        "load": round(os.getloadavg()[0], 1),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def made_on(machine: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """One line that says on what machine and with which libraries something was made."""
    on = [machine["system"], machine["cpu"], f"{machine['cores']} cores", *filter(None, [machine.get("gpu")])]
    return f"{', '.join(on)}; {', '.join(f'{name} {version}' for name, version in versions.items())}"


def _processor() -> str:
    """Its name where Linux tells it, else its kind."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text("utf-8").splitlines() if told.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
