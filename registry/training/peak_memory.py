"""How much memory training takes: of an accelerator, or of this process from the moment that training begins."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

import torch

from registry.allocator import give_back

PEAK_ONLY = "5"
"""What /proc/self/clear_refs takes to forget the peak, and nothing else."""


def forget_peak(device: torch.device) -> None:
    """Count from here on: what data was prepared with is given back, and no part of the training.

    Where the system is not Linux the peak stays that of the whole process.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    give_back()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text(PEAK_ONLY)


def peak_memory_mb(device: torch.device) -> float:
    """MiB held at most since `forget_peak`: of the accelerator where there is one, else of the host."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with contextlib.suppress(OSError, StopIteration):  # `getrusage` may tell of the process that started this one
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
