"""What a confined process is told of the environment: how libraries run, and no secret."""

from __future__ import annotations

import fnmatch
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

#: everything else stays behind: addresses of databases and their passwords, tokens, keys
KEPT = (
    *("PATH", "LANG", "LC_*", "LANGUAGE", "TZ", "TMPDIR", "HOME", "USER", "LOGNAME", "LD_LIBRARY_PATH", "LD_PRELOAD"),
    *("PYTHON*", "VIRTUAL_ENV", "CUDA_*", "NVIDIA_*", "NCCL_*", "CUDNN_*", "CUBLAS_*", "TORCH_*", "TORCHINDUCTOR_*"),
    *("PYTORCH_*", "TRITON_*", "OMP_*", "MKL_*", "KMP_*", "GOMP_*", "OPENBLAS_*", "NUMEXPR_*", "MALLOC_*", "GLIBC_*"),
    *("HIP_*", "HSA_*", "ROCM_*", "ROCR_*", "COV_*", "COVERAGE_*"),
)
#: GNU's OpenMP would pin its threads by their numbers, which is forbidden since others could be pinned so, and give up
PINNED = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY")
#: numpy starts threads as it is imported, and a thread that runs before its process is confined would not be
ALONE = {"OPENBLAS_NUM_THREADS": "1"}
USER = "planimeter"


def cleaned(environment: Mapping[str, str], also: tuple[str, ...] = ()) -> dict[str, str]:
    """What of an environment is passed on.

    Args:
        also: further names, as patterns.
    """
    kept = (*KEPT, *also)
    return {
        name: value
        for name, value in environment.items()
        if name not in PINNED and any(fnmatch.fnmatchcase(name, one) for one in kept)
    }


def live_in(folder: Path) -> None:
    """Have libraries put into this folder, which is made, whatever they keep for a while or at home."""
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ |= {"HOME": str(folder), "TMPDIR": str(folder), "CUDA_CACHE_PATH": str(folder / "cuda")}
    os.environ |= {"USER": USER, "LOGNAME": USER}  # else they look for it among the users of the machine
    tempfile.tempdir = None  # looked up before
