"""What is minimised in one micro-batch: one forward pass and the task's loss, or a recipe around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from registry.heads import Head
from registry.tasks.base import Batch, Task

if TYPE_CHECKING:
    from torch import nn

Objective = Callable[["nn.Module", Batch], tuple[Tensor, Mapping[str, Any]]]
"""(model, batch on the device) -> (loss summed over scored items, the outputs that metrics are taken from)."""


def forward(model: nn.Module, batch: Batch, *, wants_labels: bool) -> Mapping[str, Any]:
    """The prepared model's outputs for a batch; models with a loss of their own get the labels."""
    labels = {"labels": batch["labels"]} if wants_labels else {}
    return model(**batch["inputs"], **labels)


def task_loss(task: Task, head: Head, *, wants_labels: bool) -> Objective:
    """The plain objective: one forward pass and `task.loss`."""

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Any]]:
        outputs = forward(model, batch, wants_labels=wants_labels)
        return task.loss(outputs, batch, head), outputs

    return objective
