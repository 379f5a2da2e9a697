"""--micro-batch-size auto: the largest micro-batch that memory holds, found before the first update.

All processes try the longest examples that there are, forward and backward, with room kept for the
optimizer's state, and halve together until none of them runs out. The batch of an update stays what it
is: more micro-batches make it up. Nothing is exchanged while trying, so that a process that runs out
leaves no other one waiting. Where it was too much after all, `registry.training.recovery` halves it in the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch

from registry.allocator import is_out_of_memory
from registry.inference import to_device
from registry.training.engines import is_sharded, micro_step

if TYPE_CHECKING:
    from registry.training.plan import UpdatePlan
    from registry.training.setup import Setup

STATE_BYTES = {"adamw": 8, "adamw8bit": 2, "paged_adamw8bit": 2, "lion8bit": 1, "adafactor": 0, "sgd": 4, "lamb": 8}
"""Bytes of optimizer state for one trained number."""


def fit_micro_batch(setup: Setup, optimizer: str, say: Callable[[str], None]) -> None:
    """Set `setup.updates.micro_batch_size` to the largest halving of it that fits.

    Raises:
        ValueError: not even one example fits, or the engine exchanges pieces in every backward pass.
    """
    if is_sharded(setup.accelerator):
        raise ValueError("--micro-batch-size auto works on one process and DDP; with ZeRO or FSDP give a number")
    trained = sum(p.numel() for p in setup.module.parameters() if p.requires_grad)
    if not trained:
        return
    asked = size = setup.updates.micro_batch_size
    while setup.control.any(runs_out(partial(try_update, setup, size, trained * STATE_BYTES[optimizer]))):
        size = halved(size, setup.updates.plan)
    setup.updates.micro_batch_size = size
    if size < asked:
        say(f"memory holds {size} of the {asked} examples that a process has in an update: they go in turn")


def halved(size: int, plan: UpdatePlan) -> int:
    """Half of a micro-batch that does not fit; ValueError where it is one example already."""
    if size == 1:
        raise ValueError(
            f"one example of {int(plan.lengths.max())} tokens does not fit into memory; try --gradient-checkpointing, "
            "--lora-rank, another --optimizer or a smaller --max-length"
        )
    return -(-size // 2)


def try_update(setup: Setup, size: int, reserved: int) -> None:
    """Forward and backward of the `size` longest examples beside `reserved` bytes; leaves no gradients behind."""
    device = setup.accelerator.device
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), micro_step(setup.accelerator, setup.model, last=False):
            room = torch.empty(reserved, dtype=torch.uint8, device=device)
            setup.model.train()
            longest = setup.updates.plan.longest_micro_batch(size)
            batch = setup.updates.collate(setup.updates.encoded(0).rows(longest), 0)
            loss, _ = setup.objective(setup.model, to_device(batch, device))
            setup.accelerator.backward(loss / size)
            del room, loss
    finally:
        setup.model.zero_grad(set_to_none=True)


def runs_out(attempt: Callable[[], None]) -> bool:
    """Whether memory runs out in `attempt`; what it held is free again afterwards."""
    try:
        attempt()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        failed = True
    else:
        failed = False
    if failed and torch.cuda.is_available():
        torch.cuda.empty_cache()
    return failed
