"""Locks that a killed build of DeepSpeed's operators left behind; torch would wait for them for ever, in silence."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil


def clear_abandoned_locks() -> list[Path]:
    """Remove the build locks of torch's extensions that no process of this machine holds open; what was removed."""
    from torch.utils.cpp_extension import get_default_build_root

    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
    locks = sorted(root.glob("**/lock"))
    held = _open_files() if locks else set()
    abandoned = [lock for lock in locks if lock.resolve() not in held]
    for lock in abandoned:
        lock.unlink(missing_ok=True)
    return abandoned


def _open_files() -> set[Path]:
    found: set[Path] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # it has ended, or is somebody else's
            found.update(Path(file.path) for file in process.open_files())
    return found
