"""Runs scripts/train.py in forked children that kill themselves at a named phase.

    python tests/faults/driver.py request.json

The request is a list of {"arguments": […], "phase": name or null, "nth": number}. Everything heavy is
imported once, before the first fork. Answers with the exit status of each child, as JSON, on the last line.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TRAIN = Path(__file__).parents[2] / "scripts" / "train.py"


def die() -> None:
    """What a power cut does."""
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, nth: int) -> None:
    """Die at the n-th call of an attribute, before it does anything."""
    original, calls = getattr(owner, name), []

    def patched(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == nth:
            die()
        return original(*args, **kwargs)

    setattr(owner, name, patched)


def after(owner: Any, name: str, nth: int) -> None:
    """Die at the n-th call of an attribute, when it has done its work."""
    original, calls = getattr(owner, name), []

    def patched(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        calls.append(1)
        if len(calls) == nth:
            die()
        return result

    setattr(owner, name, patched)


def phases() -> dict[str, Callable[[int], None]]:
    """Named places in a run where a process can be killed: name -> how, at the n-th time."""
    from accelerate import Accelerator
    from torch.optim.lr_scheduler import LambdaLR

    import registry.training.evaluation as evaluation
    import registry.training.progress as progress
    import registry.training.resuming as resuming
    from registry.training.checkpoints import Checkpoints
    from registry.training.plan import UpdatePlan

    return {
        "mid-accumulation": lambda nth: after(Accelerator, "backward", nth),
        "before-step": lambda nth: before(Accelerator, "clip_grad_norm_", nth),
        "after-update": lambda nth: before(progress.Progress, "after_update", nth),
        "evaluation": lambda nth: before(evaluation, "infer", nth),
        "logging": lambda nth: before(progress.Progress, "write", nth),
        "best-model": lambda nth: before(progress, "save_model", nth),
        "saving": lambda nth: after(resuming, "save_engine_state", nth),
        "publishing": lambda nth: before(Checkpoints, "_publish", nth),
        "renamed": lambda nth: after(Path, "rename", nth),
        "epoch": lambda nth: before(UpdatePlan, "epoch", nth),
        "schedule": lambda nth: after(LambdaLR, "step", nth),
    }


def run(arguments: list[str], phase: str | None, nth: int) -> int:
    """One training in a child; its exit status, negative for a signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if phase is not None:
        phases()[phase](nth)
    sys.argv = [str(TRAIN), *arguments]
    status = 1
    try:
        runpy.run_path(str(TRAIN), run_name="__main__")
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Answer the request."""
    import accelerate  # noqa: F401
    import datasets  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import torch  # noqa: F401
    import transformers.models.bert.modeling_bert  # noqa: F401

    requests = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    statuses = [run(r["arguments"], r.get("phase"), r.get("nth", 1)) for r in requests]
    print(json.dumps(statuses))


if __name__ == "__main__":
    main()
