"""Being asked to stop: signals, a STOP file, a launcher that is gone. Asked, a run saves and leaves; it is not lost.

SIGTERM and SIGUSR1 (what schedulers send before they kill) and the first SIGINT ask; a second SIGINT forces.
`accelerate launch` with one process dies of SIGTERM without telling its child, so the child watches it.

This module imports no torch: the launcher is to be watched from the first moment on.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

REQUEUE = 75
"""Exit code of a run that saved itself and wants to be started again (EX_TEMPFAIL)."""

LAUNCHED = ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID")
"""What `accelerate launch` and torchrun put into the environment of the processes that they start."""

PARENT = os.getppid()

SAME_KEYSTROKE = 1.0
"""Seconds in which a second SIGINT is the first one again: the terminal sends it, and so does torchrun."""


class Interruption:
    """Whether this process was asked to stop, and by what.

    Args:
        stop_file: its existence asks, too.
    """

    def __init__(self, stop_file: Path) -> None:
        self.stop_file = stop_file
        self.reason: str | None = None
        self._interrupted_at = 0.0

    def listen(self) -> None:
        """Install the signal handlers; call it in the main thread."""
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, self._asked)

    def requested(self) -> bool:
        """Whether this process was asked; cheap enough for every update and every evaluation batch."""
        if self.reason is None and self.stop_file.exists():
            self.reason = f"the file {self.stop_file}"
        return self.reason is not None

    def honoured(self) -> None:
        """What asked is done with: the next start is not asked by the same file again."""
        self.stop_file.unlink(missing_ok=True)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number == signal.SIGINT:
            if self._interrupted_at and now - self._interrupted_at > SAME_KEYSTROKE:
                sys.stderr.write("stopped at once; the run goes on from its last checkpoint\n")
                os._exit(128 + number)
            self._interrupted_at = self._interrupted_at or now
        self.reason = signal.Signals(number).name


def leave_when_asked(every: float = 0.5) -> None:
    """Until an `Interruption` listens there is nothing to save: being asked to stop ends this process at once.

    From now on to its end it is asked, too, when the launcher that started it is gone, so that no orphan goes on.
    """
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _leave)
    if any(name in os.environ for name in LAUNCHED):
        threading.Thread(target=_watch, args=(every,), name="launcher", daemon=True).start()


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"asked to stop before the first update; the same command begins again\n")
    os._exit(REQUEUE)


def _watch(every: float) -> None:
    while os.getppid() == PARENT:
        time.sleep(every)
    os.kill(os.getpid(), signal.SIGTERM)
