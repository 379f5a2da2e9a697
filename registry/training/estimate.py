"""What a training run takes: memory by purpose, and the time of an epoch, from a few updates that are thrown away."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import psutil
import torch
from torch import Tensor

from registry.inference import to_device
from registry.training.engines import gradient_split, micro_step, numbers
from registry.training.peak_memory import forget_peak, peak_memory_mb

if TYPE_CHECKING:
    from torch import nn

    from registry.tasks.base import Batch
    from registry.training.assembly import Job
    from registry.training.batches import Update
    from registry.training.setup import Setup

UPDATES = 9
"""Updates that are measured, the first third to warm up."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one process, by purpose; `available` is what the device or the host has left."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    available: int

    @property
    def needed(self) -> int:
        """All purposes together, without the engine's own buffers."""
        return self.weights + self.gradients + self.optimizer + self.activations

    def rows(self) -> list[tuple[str, str]]:
        """Rows for the terminal."""
        parts = ("weights", "gradients", "optimizer", "activations", "needed", "available")
        return [(part, f"{getattr(self, part) / 2**20:,.0f} MiB") for part in parts]


class SavedActivations:
    """Counts what forward keeps for backward, while its context is active: every storage once, parameters not."""

    def __init__(self, module: nn.Module) -> None:
        self.bytes = 0
        self._seen = {p.untyped_storage().data_ptr() for p in module.parameters()}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def __enter__(self) -> SavedActivations:
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)

    def _pack(self, tensor: Tensor) -> Tensor:
        held: Any = tensor._values if tensor.is_nested else tensor  # a nested one (packed texts) has no memory itself
        storage = held.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor


def estimate(job: Job, setup: Setup) -> list[tuple[str, str]]:
    """Rows for the terminal: memory by purpose and the time of an epoch.

    Trains a few updates and the longest micro-batch; the weights are of no use afterwards.

    Raises:
        ValueError: there is nothing to train.
    """
    if setup.optimizer is None:
        raise ValueError("--estimate: this model has nothing to train")
    forget_peak(setup.accelerator.device)
    updates = setup.updates.between(0, min(UPDATES, setup.total_updates))
    speed = measure([partial(train_update, setup, update) for update in updates])
    lengths = setup.updates.plan.lengths
    longest = setup.updates.plan.longest_micro_batch(setup.updates.micro_batch_size)
    memory = Memory(
        weights=weight_bytes(setup.module),
        gradients=gradient_bytes(setup.module, split=gradient_split(setup.accelerator)),
        optimizer=optimizer_bytes(setup.optimizer),
        activations=activation_bytes(setup, setup.updates.collate(job.encoded["train"].rows(longest), 0)),
        available=available_bytes(setup.accelerator.device),
    )
    epoch = int(lengths.sum()) / speed
    peak = max(setup.control.each(peak_memory_mb(setup.accelerator.device)))
    return [
        *memory.rows(),
        ("measured", f"{peak:,.0f} MiB, the most that a process held meanwhile, {beside(setup.accelerator.device)}"),
        ("speed", f"{speed:,.0f} tokens a second"),
        (
            "an epoch",
            f"{timedelta(seconds=round(epoch))} ({setup.updates_per_epoch:,} updates), evaluation not counted",
        ),
    ]


def beside(device: torch.device) -> str:
    """What the measured peak holds beside what is needed."""
    return "the engine's buffers included" if device.type == "cuda" else "Python's libraries and the data included"


def train_update(setup: Setup, update: Update) -> int:
    """One update without logging; its tokens over all processes."""
    accelerator = setup.accelerator
    setup.model.train()
    for number, batch in enumerate(update.micro_batches, start=1):
        last = number == len(update.micro_batches)
        with micro_step(accelerator, setup.model, last=last):
            loss, _ = setup.objective(setup.model, to_device(batch, accelerator.device))
            accelerator.backward(loss / update.examples)
            if last:
                setup.exchange_gradients()
            if setup.optimizer is not None:
                setup.optimizer.step()
                setup.optimizer.zero_grad()
    return update.tokens


def activation_bytes(setup: Setup, batch: Batch) -> int:
    """What forward keeps for the backward pass of a micro-batch."""
    setup.model.train()
    with SavedActivations(setup.module) as saved:
        setup.objective(setup.model, to_device(batch, setup.accelerator.device))
    return saved.bytes


def measure(updates: Sequence[Callable[[], int]]) -> float:
    """Tokens a second of updates, each of which says how many it trained; the first third only warms up."""
    warm = len(updates) // 3
    for update in updates[:warm]:
        update()
    _wait_for_device()
    begin = time.perf_counter()
    tokens = sum(update() for update in updates[warm:])
    _wait_for_device()
    return tokens / (time.perf_counter() - begin)


def weight_bytes(module: nn.Module) -> int:
    """Bytes of parameters and buffers that this process holds (its piece under ZeRO-3 and FSDP)."""
    return sum(_local(tensor).nbytes for tensor in [*module.parameters(), *module.buffers()])


def gradient_bytes(module: nn.Module, *, split: int) -> int:
    """Bytes of gradients at the end of backward, split over `split` processes (ZeRO-2 and 3)."""
    return sum(numbers(p) * p.element_size() for p in module.parameters() if p.requires_grad) // max(split, 1)


def optimizer_bytes(optimizer: Any) -> int:
    """Bytes of the optimizer's state after its first step, on this process; DeepSpeed's masters among them."""
    inner = optimizer
    while hasattr(inner, "optimizer"):
        inner = inner.optimizer
    state = sum(value.nbytes for values in inner.state.values() for value in _tensors(values))
    masters = 0
    if inner is not getattr(optimizer, "optimizer", inner):  # under DeepSpeed the groups hold float32 copies
        masters = sum(p.nbytes for group in inner.param_groups for p in group["params"])
    return state + masters


def available_bytes(device: torch.device) -> int:
    """Memory that is free on the device; of the host where the device is the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) + torch.cuda.memory_reserved(device)
    return int(psutil.virtual_memory().available)


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _local(tensor: Any) -> Tensor:
    if hasattr(tensor, "ds_tensor"):
        return tensor.ds_tensor
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _tensors(values: Mapping[str, Any]) -> list[Tensor]:
    found = []
    for value in values.values():
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, Mapping):
            found += _tensors(value)
    return found
