"""What training batches tell about themselves: the loss since the last logged line, metrics since the last evaluation.

The metrics come from the same `reduce`, `join` and `metrics` as validation's, so that both curves
can be drawn together. Nothing here waits for the device until a value is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from registry.heads import Head
from registry.inference import to_numpy
from registry.shelf import Shelf
from registry.tasks.base import Batch, Metrics, Task


class TrainWindow:
    """Collects losses and reduced predictions of this process's training batches."""

    def __init__(self, task: Task, head: Head, device: torch.device) -> None:
        self.task, self.head = task, head
        self._loss = torch.zeros((), dtype=torch.float32, device=device)
        self._count = 0.0
        self._reduced: list[dict[str, Tensor]] = []
        self._settled = 0
        self._shelf = Shelf()

    def add(self, outputs: Mapping[str, Any], batch: Batch, loss: Tensor, count: float) -> None:
        """Keep one micro-batch: its summed loss and what `task.reduce` keeps of its outputs."""
        self._loss += loss.detach()
        self._count += count
        if count:
            with torch.no_grad():
                reduced = self.task.reduce(outputs, batch, self.head)
            self._reduced.append(self._shelf.keep(reduced))

    @property
    def loss(self) -> Tensor:
        """Summed loss of this process since `take_loss`, on the device."""
        return self._loss

    def take_loss(self) -> tuple[float, float]:
        """(summed loss, scored items) of this process since the last call."""
        taken = float(self._loss), self._count
        self._loss.zero_()
        self._count = 0.0
        return taken

    def settle(self) -> None:
        """Bring what was kept since the last call to the CPU: an epoch's predictions would fill a device's memory."""
        self._reduced[self._settled :] = [
            {name: value.cpu() for name, value in reduced.items()} for reduced in self._reduced[self._settled :]
        ]
        self._settled = len(self._reduced)

    def take_reduced(self) -> list[dict[str, np.ndarray]]:
        """Reduced batches of this process since the last call, on the CPU."""
        taken = [to_numpy(reduced) for reduced in self._reduced]
        self._reduced.clear()
        self._settled = 0
        self._shelf = Shelf()
        return taken

    def mark(self) -> tuple[Tensor, float, int]:
        """Where it stands, for `rewind`."""
        return self._loss.clone(), self._count, len(self._reduced)

    def rewind(self, mark: tuple[Tensor, float, int]) -> None:
        """Forget what was added since `mark`."""
        loss, self._count, batches = mark
        self._loss.copy_(loss)
        del self._reduced[batches:]
        self._settled = min(self._settled, batches)

    def metrics(self, gathered: list[dict[str, np.ndarray]]) -> Metrics:
        """Metrics over the gathered batches of all processes; empty where there are none."""
        return self.task.metrics(self.task.join(gathered), self.head) if gathered else {}

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a continued run needs to report the same values, for safetensors.

        What was reduced lies in two tensors a name, values and shapes: a file has room for so many names only.
        """
        self.settle()
        kept = {"loss": self._loss, "count": torch.tensor(self._count, dtype=torch.float64)}
        for name in self._reduced[0] if self._reduced else ():
            parts = [reduced[name] for reduced in self._reduced]
            kept[f"values.{name}"] = torch.cat([part.flatten() for part in parts])
            kept[f"shapes.{name}"] = torch.tensor([part.shape for part in parts], dtype=torch.int64)
        return {name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what `tensors` gave."""
        self._loss.copy_(tensors["loss"])
        self._count = float(tensors["count"])
        columns: dict[str, list[Tensor]] = {}
        for name in [key.removeprefix("values.") for key in tensors if key.startswith("values.")]:
            shapes: list[list[int]] = tensors[f"shapes.{name}"].tolist()
            flat = tensors[f"values.{name}"].split([math.prod(shape) for shape in shapes])
            columns[name] = [part.view(shape) for part, shape in zip(flat, shapes, strict=True)]
        self._reduced = [dict(zip(columns, parts, strict=True)) for parts in zip(*columns.values(), strict=True)]
        self._settled = 0
