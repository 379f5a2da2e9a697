"""--micro-batch-size auto while training: an update for which memory runs out begins anew, in smaller parts.

All processes decide together. Gradients are exchanged only when every process has its own, so that one
that runs out leaves no other one waiting in the middle of a backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from registry.tasks.base import Batch
from registry.training.batches import Update
from registry.training.memory import halved, runs_out
from registry.training.random_state import draw_again

if TYPE_CHECKING:
    from registry.training.progress import Progress


def within_memory(progress: Progress, update: Update, compute: Callable[[list[Batch]], None]) -> None:
    """Add the gradients of an update with `compute`, in parts that memory holds on every process.

    Whatever a failed attempt left is undone: gradients, what it told of itself, random numbers. So the update
    is what it would have been with the smaller parts from the start; later ones keep their size.

    Raises:
        ValueError: not even one example fits.
    """
    setup, window, display = progress.setup, progress.window, progress.display
    before, rewind = window.mark(), draw_again(setup.accelerator.device)
    while setup.control.any(runs_out(partial(compute, update.micro_batches))):
        size = setup.updates.micro_batch_size
        setup.updates.micro_batch_size = halved(size, setup.updates.plan)
        setup.module.zero_grad(set_to_none=True)
        window.rewind(before)
        rewind()
        display.line(
            f"update {update.number + 1}: memory ran out with {size} examples in a forward pass; "
            f"from here on {setup.updates.micro_batch_size}, in more passes"
        )
        update = setup.updates.resized(update)
