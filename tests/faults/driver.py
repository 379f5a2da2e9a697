"""Runs scripts/train.py in forked children that meet a fault at a named phase.

    python tests/faults/driver.py request.json

The request is a list of {"arguments": […], "phase": name or null, "nth": number, "fault": name}; `strike` knows the
faults, of which SIGKILL is the default, and those of "earlier" ([[fault, phase, nth], …]) come before it. Everything
heavy is imported once, before the first fork. Answers with the exit status of each child, as JSON, on the last line.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from children import start

LARGE = 100_000
"""Bytes: logs are smaller, weights larger."""
Strike = Callable[..., None]


def strike(fault: str, *args: Any) -> None:
    """Let a fault of this process happen: signals, a file STOP, a disk that takes no more large files, a clock that
    jumps, memory that is used up, an error that this process alone meets, a loss that is not finite (where a
    `Progress` is the first argument) or an infinite gradient (where it is an `Accelerator`).
    """
    sys.stdout.flush()
    if fault == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGE, LARGE))
    elif fault == "memory":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    elif fault == "error":
        raise ValueError("row 7 has no label")
    elif fault == "nan":
        args[0].window.loss.fill_(float("nan"))
    elif fault == "inf":
        parameters = [p for group in args[0]._optimizers[0].param_groups for p in group["params"]]
        next(p.grad for p in parameters if p.grad is not None).view(-1)[0] = float("inf")
    elif fault == "clock":
        time.time = lambda: 0.0
    elif fault == "STOP":
        Path(sys.argv[sys.argv.index("--output-dir") + 1], "STOP").touch()
    else:
        for number, name in enumerate(fault.split()):
            time.sleep(1.5 * (number > 0))  # a second keystroke
            os.kill(os.getpid(), signal.Signals[name])


def before(owner: Any, name: str, nth: int, happen: Strike) -> None:
    """Let it happen at the n-th call of an attribute, before it does anything."""
    original, calls = getattr(owner, name), []

    def patched(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == nth:
            happen(*args)
        return original(*args, **kwargs)

    setattr(owner, name, patched)


def after(owner: Any, name: str, nth: int, happen: Strike, counts: Callable[..., bool] = lambda *args: True) -> None:
    """Let it happen at the n-th call of an attribute that counts, when it has done its work."""
    original, calls = getattr(owner, name), []

    def patched(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if counts(*args):
            calls.append(1)
            if len(calls) == nth:
                happen(*args)
        return result

    setattr(owner, name, patched)


def phases() -> dict[str, Callable[[int, Strike], None]]:
    """Named places in a run where a fault can strike: name -> how, at the n-th time."""
    from accelerate import Accelerator
    from torch.optim.lr_scheduler import LambdaLR

    import registry.reports as reports
    import registry.training.evaluation as evaluation
    import registry.training.progress as progress
    import registry.training.resuming as resuming
    from registry.run_directory import OLD_MODEL
    from registry.training.checkpoints import Checkpoints
    from registry.training.plan import UpdatePlan

    return {
        "mid-accumulation": partial(after, Accelerator, "backward"),
        "before-step": partial(before, Accelerator, "clip_grad_norm_"),
        "after-update": partial(before, progress.Progress, "after_update"),
        "evaluation": partial(before, evaluation, "infer"),
        "logging": partial(before, progress.Progress, "write"),
        "best-model": partial(before, progress, "save_model"),
        "best-model-aside": partial(after, Path, "rename", counts=lambda _, target: Path(target).name == OLD_MODEL),
        "checkpoint": partial(before, progress, "write_checkpoint"),
        "saving": partial(after, resuming, "save_engine_state"),
        "publishing": partial(before, Checkpoints, "_publish"),
        "renamed": partial(after, Path, "rename"),
        "epoch": partial(before, UpdatePlan, "epoch"),
        "schedule": partial(after, LambdaLR, "step"),
        "report": partial(before, reports, "write_all"),
    }


def meet(*faults: tuple[str, str, int]) -> None:
    """Let this process meet each (fault, phase, nth): the fault, at the n-th time that it comes to the phase."""
    for fault, phase, nth in faults:
        phases()[phase](nth, partial(strike, fault))


def run(
    arguments: list[str],
    phase: str | None = None,
    nth: int = 1,
    fault: str = "SIGKILL",
    earlier: Sequence[tuple[str, str, int]] = (),
) -> int:
    """One training in a child; its exit status, negative for a signal."""
    faults = [*earlier, *([(fault, phase, nth)] if phase is not None else [])]
    child = start(arguments, partial(meet, *faults))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """Answer the request."""
    import accelerate  # noqa: F401
    import datasets  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import transformers.models.bert.modeling_bert  # noqa: F401

    requests = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    statuses = [run(**request) for request in requests]
    print(json.dumps(statuses))


if __name__ == "__main__":
    main()
