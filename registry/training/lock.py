"""One process (group) a run directory: a lock that a crash releases by itself."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

LOCK = ".lock"


class RunLock:
    """An advisory lock on `<run>/.lock`, held until the process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / LOCK
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            ValueError: another process holds it; names that process. Or nothing can be written or locked there.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            os.write(self._file, str(os.getpid()).encode())
        except BlockingIOError:
            assert self._file is not None
            holder = os.read(self._file, 32).decode(errors="replace").strip()
            self.release()
            raise ValueError(
                f"{self.path.parent}: process {holder or '?'} is training in this run directory; "
                "wait for it or choose another --output-dir"
            ) from None
        except OSError as error:
            self.release()
            raise ValueError(
                f"{self.path}: cannot be written and locked ({error.strerror}); choose another --output-dir"
            ) from None

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
