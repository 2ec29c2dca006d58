"""What the driver says of the GPUs, with a driver's library of the tests' own: there need be no GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: as much of NVML as is asked of it: two GPUs, of which one does not answer
LIBRARY = """
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory;
int nvmlInit_v2(void) { return 0; }
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **one) { *one = (void *)(index + 1L); return index ? 15 : 0; }
int nvmlDeviceGetName(void *device, char *name, unsigned length) { strncpy(name, "NVIDIA Test", length); return 0; }
int nvmlDeviceGetMemoryInfo(void *device, memory *of) { of->total = 80; of->free = 20; of->used = 60; return 0; }
const char *nvmlErrorString(int code) { return "lost"; }
"""
ASK = "from models.gpus import gpus; print([(one.index, one.name, one.total, one.free) for one in gpus()])"


def asked(**environment: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-P", "-c", ASK], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()


def test_without_a_driver_there_is_no_gpu() -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a driver")
    assert asked() == "[]"


def test_each_gpu_that_answers_is_told_of(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler for the driver of the tests: apt-get install gcc libc6-dev")
    (tmp_path / "nvml.c").write_text(LIBRARY)
    made = tmp_path / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, tmp_path / "nvml.c"], check=True)
    assert asked(LD_LIBRARY_PATH=str(tmp_path)) == "[(0, 'NVIDIA Test', 80, 20)]"
