"""One process (group) a run directory: a lock that a crash releases by itself."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class RunLock:
    """An advisory lock on `<run>/.lock`, held until the process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / ".lock"
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            ValueError: another process holds it; names that process.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            raise ValueError(
                f"{self.path.parent}: process {holder or '?'} is training in this run directory; "
                "wait for it or choose another --output-dir"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self._file = descriptor

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
