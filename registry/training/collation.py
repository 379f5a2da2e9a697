"""How training examples become tensors: packed where that is asked for, else padded to lengths that kernels like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from registry.models.packing import pack_inputs
from registry.tasks.base import Batch, Features

if TYPE_CHECKING:
    from torch import nn

    from registry.training.assembly import Job
    from registry.training.batches import Collate

LENGTH_STEP = 8
"""Tensor cores and masked attention kernels want lengths that this divides; compiled code meets fewer shapes."""


def build_collate(job: Job, *, step: int | None, packing: bool) -> Collate:
    """The collation of training batches: packed, or padded to multiples of `step`."""
    task, tokenizer, seed = job.task, job.tokenizer, job.options.run.seed
    if packing:
        return lambda features, epoch: packed(task.collate(features, tokenizer, (seed, epoch)))
    return lambda features, epoch: task.collate(features, tokenizer, (seed, epoch), step)


def padding_step(job: Job, *, device: str, mixed_precision: str) -> int | None:
    """What padded lengths are a multiple of on a type of device, in an arithmetic of accelerate's ("no", "bf16", …)."""
    on_tensor_cores = device == "cuda" and mixed_precision in ("fp16", "bf16")
    gains = job.spec.ignores_padding(job.tokenizer) and (on_tensor_cores or job.options.kernels.compile)
    return length_step(job.limits.max_length, job.tokenizer.model_max_length) if gains else None


def pinned(collate: Collate, device: torch.device) -> Collate:
    """The same batches, in memory from which a GPU copies while it computes."""

    def run(features: Sequence[Features], epoch: int) -> Batch:
        if device.index is not None:
            torch.cuda.set_device(device)  # of this thread, which would wake the first GPU otherwise
        return _pinned(collate(features, epoch))

    return run


def _pinned(batch: Mapping[str, Any]) -> Any:
    return {name: _pinned(value) if isinstance(value, Mapping) else value.pin_memory() for name, value in batch.items()}


def length_step(longest: int, positions: int) -> int | None:
    """What padded lengths are a multiple of; None where the longest would then have more tokens than positions."""
    return LENGTH_STEP if -(-longest // LENGTH_STEP) * LENGTH_STEP <= positions else None


def allow_packing(job: Job, module: nn.Module, device: str) -> bool:
    """Whether batches are packed; `module` then takes them, in place.

    Unless somebody says otherwise they are on a CPU, where that gains time in updates of any order.

    Raises:
        ValueError: it was asked for, and the model cannot, or its shapes would be compiled.
    """
    asked, compiled = job.options.kernels.packing, job.options.kernels.compile
    if asked and compiled:
        raise ValueError("--packing and --compile do not go together: compiled code wants few shapes; choose one")
    if asked is False or not (asked or (device == "cpu" and not compiled)):
        return False
    try:
        job.spec.allow_packing(module)
    except ValueError:
        if asked:
            raise
        return False
    return True


def packed(batch: Batch) -> Batch:
    """The batch with what a packed model needs among its inputs."""
    return {**batch, "inputs": pack_inputs(batch["inputs"])}
