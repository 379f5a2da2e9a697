"""How a process uses the CPU: as many threads as it has cores, and no denormal numbers.

`accelerate launch` and torchrun give processes OMP_NUM_THREADS=1 where nobody said anything, and torch counts the
cores of the machine where a container may use a few of them: either costs most of the speed, in silence.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import torch

from registry.allocator import is_glibc

THREADS = "OMP_NUM_THREADS"
LAUNCHED = ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID")
"""In the environment of a process that a launcher started."""


def suit_threads() -> None:
    """Let torch use this process's share of the cores, unless a person said how many threads it takes.

    Denormal numbers, which Adam's momentum of a rare word turns into, become zero: arithmetic with them is slow.
    """
    torch.set_flush_denormal(True)  # threads inherit it; none runs yet
    if not said_by_person(os.environ, *launcher()):
        torch.set_num_threads(max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def describe_threads() -> str:
    """For people: "2 threads a process (OMP_NUM_THREADS)", and what holds freed memory."""
    count = torch.get_num_threads()
    said = f" ({THREADS})" if said_by_person(os.environ, *launcher()) else ""
    allocator = preloaded_allocator() or ("freed memory is kept" if is_glibc() else "")
    return ", ".join(filter(None, (f"{count} thread{'s' if count > 1 else ''} a process{said}", allocator)))


def said_by_person(
    environment: Mapping[str, str], launcher_environment: Mapping[str, str] | None, command: Sequence[str]
) -> bool:
    """Whether the number of threads in `environment` was there before the launcher, or is an option of it.

    Args:
        launcher_environment, command: of the program that started this process; None where that cannot be seen.
    """
    if THREADS not in environment:
        return False
    if launcher_environment is None or not any(name in environment for name in LAUNCHED):
        return True
    asked = any(word.replace("-", "_").startswith("__num_cpu_threads_per_process") for word in command)
    return asked or THREADS in launcher_environment


def launcher() -> tuple[Mapping[str, str] | None, Sequence[str]]:
    """Environment and command line of the parent process."""
    try:
        parent = psutil.Process(os.getppid())
        return parent.environ(), parent.cmdline()
    except (psutil.Error, OSError):
        return None, ()


def usable_cores() -> int:
    """Physical cores that this process may run on, a container's quota considered."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, psutil.cpu_count(logical=False) or allowed, quota(Path("/sys/fs/cgroup/cpu.max")) or allowed)


def quota(file: Path) -> int | None:
    """Whole cores that the control group may use ("250000 100000": 2), at least one; None where nothing limits it."""
    try:
        limit, period = file.read_text().split()
        return max(1, int(limit) // int(period))
    except (OSError, ValueError):  # no such file; or "max"
        return None


def preloaded_allocator() -> str:
    """The allocator that was loaded in place of the C library's, or an empty string."""
    try:
        loaded = Path("/proc/self/maps").read_text()
    except OSError:
        return ""
    return next((name for name in ("jemalloc", "tcmalloc", "mimalloc") if f"lib{name}" in loaded), "")
