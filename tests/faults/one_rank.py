"""scripts/train.py in one of several processes, of which one (or "all") meets a fault at the n-th time at a phase.

accelerate launch --config_file accelerate_configs/cpu_ddp.yaml tests/faults/one_rank.py RANK FAULT PHASE N OPTIONS…
"""

from __future__ import annotations

import os
import runpy
import sys

from children import TRAIN
from driver import meet


def main() -> None:
    """Prepare the fault, and train."""
    rank, fault, phase, nth = sys.argv[1:5]
    if rank in (os.environ["RANK"], "all"):
        meet((fault, phase, int(nth)))
    sys.argv = [str(TRAIN), *sys.argv[5:]]
    runpy.run_path(str(TRAIN), run_name="__main__")


if __name__ == "__main__":
    main()
