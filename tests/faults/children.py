"""scripts/train.py in forks of a process that has imported everything heavy already."""

from __future__ import annotations

import os
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

TRAIN = Path(__file__).parents[2] / "scripts" / "train.py"


def start(arguments: Sequence[str], prepare: Callable[[], None]) -> int:
    """Fork a training, in which `prepare` is called first; its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        prepare()
        sys.argv = [str(TRAIN), *arguments]
        runpy.run_path(str(TRAIN), run_name="__main__")
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
