"""scripts/train.py in one of several processes, one of which meets a fault at its n-th update.

torchrun --standalone --nproc_per_node 2 tests/faults/one_rank.py RANK nan|kill|error N OPTIONS…
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

TRAIN = Path(__file__).parents[2] / "scripts" / "train.py"


def main() -> None:
    """Patch the loop of one process, and train."""
    rank, fault, nth = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if rank == os.environ["RANK"]:
        strike_at(fault, nth)
    sys.argv = [str(TRAIN), *sys.argv[4:]]
    runpy.run_path(str(TRAIN), run_name="__main__")


def strike_at(fault: str, nth: int) -> None:
    """Let the fault happen in the n-th update of this process."""
    from registry.training.progress import Progress

    original = Progress.after_update

    def after_update(self: Progress, update: Any, *args: Any, **kwargs: Any) -> None:
        if update.number + 1 == nth and fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if update.number + 1 == nth and fault == "error":
            raise ValueError("this process alone found something wrong")
        if update.number + 1 == nth and fault == "nan":
            self.window.loss.fill_(float("nan"))
        original(self, update, *args, **kwargs)

    setattr(Progress, "after_update", after_update)  # noqa: B010


if __name__ == "__main__":
    main()
