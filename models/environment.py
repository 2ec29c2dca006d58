"""On what a network runs: whatever may change its numbers without a file of it changing."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import monai
import torch

DRIVER, PROCESSOR = Path("/proc/driver/nvidia/version"), Path("/proc/cpuinfo")


def describe(device: torch.device) -> dict[str, str]:
    """The libraries, and the device with its driver, in words that are compared for equality."""
    said = {
        "torch": str(torch.__version__),
        "monai": str(monai.__version__),
        "machine": platform.machine(),
        "processor": _found(PROCESSOR, r"^model name\s*:\s*(.+)$") or platform.processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "device": device.type,
    }
    if device.type == "cuda":
        said |= {
            "device": torch.cuda.get_device_name(device),
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),
            "driver": _found(DRIVER, r"Kernel Module.*?(\d+\.[\d.]+)"),
        }
    return said


def _found(file: Path, pattern: str) -> str:
    """The first group in a file of the kernel's; empty where there is none."""
    if not file.is_file():
        return ""
    found = re.search(pattern, file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    return found[1].strip() if found else ""
