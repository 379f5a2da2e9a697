"""Being asked to stop: signals, a STOP file, a launcher that is gone. Asked, a run saves and leaves; it is not lost.

SIGTERM and SIGUSR1 (what schedulers send before they kill) and the first SIGINT ask; a second SIGINT
forces. `accelerate launch` with one process dies of SIGTERM without telling its child, so the child
also looks whether its launcher is still its parent.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

import psutil

REQUEUE = 75
"""Exit code of a run that saved itself and wants to be started again (EX_TEMPFAIL)."""

LAUNCHERS = ("accelerate", "torchrun", "torch.distributed", "deepspeed")


class Interruption:
    """Whether this process was asked to stop, and by what.

    Args:
        stop_file: its existence asks, too.
    """

    def __init__(self, stop_file: Path) -> None:
        self.stop_file = stop_file
        self.reason: str | None = None
        self._launcher = os.getppid() if _is_launcher(os.getppid()) else None

    def listen(self) -> None:
        """Install the signal handlers; call it in the main thread."""
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, self._asked)

    def requested(self) -> bool:
        """Whether this process was asked; cheap enough for every update and every evaluation batch."""
        if self.reason is None and self.stop_file.exists():
            self.reason = f"the file {self.stop_file}"
        if self.reason is None and self._launcher is not None and os.getppid() != self._launcher:
            self.reason = "the launcher is gone"
        return self.reason is not None

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.reason == "SIGINT":
            sys.stderr.write("stopped at once; the run goes on from its last checkpoint\n")
            os._exit(128 + number)
        self.reason = signal.Signals(number).name


def _is_launcher(pid: int) -> bool:
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return any(name in word for word in words[:4] for name in LAUNCHERS)
