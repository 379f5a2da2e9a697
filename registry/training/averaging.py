"""Averages of the weights along training: evaluated and saved in place of the last ones.

Both kinds are kept in float32, hold only trainable parameters, and put their state into flat tensors
for checkpoints. Elementwise, so that every process averages the pieces that it holds (FSDP).
"""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from registry.options import Recipe
from registry.training.fsdp import cut_again, piece


class WeightAverage(abc.ABC):
    """An average of a module's trainable parameters.

    `every_update` says when `update` wants to be called: after every update, or at evaluations only.

    Raises:
        ValueError: the parameters are partitioned by ZeRO-3, where no process can see them.
    """

    every_update = True

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if any(hasattr(p, "ds_id") for p in self.parameters.values()):
            raise ValueError("averaged weights do not work with DeepSpeed ZeRO-3; ZeRO-2 and all other engines do")

    @abc.abstractmethod
    def update(self) -> None:
        """Take the present weights into the average."""

    @abc.abstractmethod
    def values(self) -> dict[str, Tensor]:
        """The average by parameter name."""

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the future depends on."""

    @abc.abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` gave."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module has the averaged weights inside, and its own again after."""
        own = self.copies()
        self._put(self.values())
        try:
            yield
        finally:
            self._put(own)

    def copies(self) -> dict[str, Tensor]:
        """The present weights in float32."""
        return {name: piece(p).to(torch.float32, copy=True) for name, p in self.parameters.items()}

    def _put(self, values: Mapping[str, Tensor]) -> None:
        cut_again(self.module)
        for name, parameter in self.parameters.items():
            piece(parameter).copy_(values[name])


class ExponentialAverage(WeightAverage):
    """Exponential moving average, taken after every update.

    Args:
        decay: share of the old average that stays; at update n at most (1 + n) / (10 + n), so that
            the first weights are forgotten quickly.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__(module)
        self.decay, self.updates = decay, 0
        self._average = self.copies()

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        present = [piece(p).float() for p in self.parameters.values()]
        torch._foreach_lerp_(list(self._average.values()), present, 1 - decay)

    def values(self) -> dict[str, Tensor]:
        return self._average

    def state_dict(self) -> dict[str, Tensor]:
        return {**self._average, "updates": torch.tensor(self.updates)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.updates = int(state["updates"])
        for name, average in self._average.items():
            average.copy_(state[name])


class SnapshotAverage(WeightAverage):
    """Mean of the weights at the last few evaluations (checkpoint averaging, Vaswani et al. 2017).

    Args:
        last: how many are kept.
    """

    every_update = False

    def __init__(self, module: nn.Module, last: int) -> None:
        super().__init__(module)
        self._snapshots: deque[dict[str, Tensor]] = deque(maxlen=last)

    def update(self) -> None:
        self._snapshots.append(self.copies())

    def values(self) -> dict[str, Tensor]:
        if not self._snapshots:
            return self.copies()
        return {name: torch.stack([s[name] for s in self._snapshots]).mean(dim=0) for name in self.parameters}

    def state_dict(self) -> dict[str, Tensor]:
        return {f"{i}/{name}": value for i, s in enumerate(self._snapshots) for name, value in s.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._snapshots.clear()
        for i in range(len(state) // len(self.parameters)):
            snapshot = {name: state[f"{i}/{name}"].to(p.device, copy=True) for name, p in self.parameters.items()}
            self._snapshots.append(snapshot)


def build_average(module: nn.Module, recipe: Recipe) -> WeightAverage | None:
    """The average that the options ask for, or None.

    Raises:
        ValueError: two kinds at once.
    """
    if recipe.ema_decay is not None and recipe.average_last is not None:
        raise ValueError("--ema-decay and --average-last are two kinds of average; choose one")
    if recipe.ema_decay is not None:
        return ExponentialAverage(module, recipe.ema_decay)
    return SnapshotAverage(module, recipe.average_last) if recipe.average_last is not None else None
