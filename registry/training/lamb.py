"""LAMB (You et al. 2020, https://arxiv.org/abs/1904.00962, algorithm 2): Adam scaled layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer


class Lamb(Optimizer):
    """Adam's direction with decoupled decay, scaled to the norm of the parameter it moves.

    Args:
        params: parameters or groups with `lr` and `weight_decay`.
        betas, eps: as in Adam.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, group)
        return loss

    def _step(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        first, second = group["betas"]
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(parameter.grad, 1 - first)  # type: ignore[arg-type]
        square.mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)  # type: ignore[arg-type]
        corrected = (square / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
        direction = (mean / (1 - first ** state["step"])).div_(corrected).add_(parameter, alpha=group["weight_decay"])
        weight, length = parameter.norm(), direction.norm()
        # A parameter or direction of zeros has no norm to scale by: it moves as in Adam.
        ratio = torch.where((weight > 0) & (length > 0), weight / length, torch.ones_like(weight))
        parameter.sub_(direction * ratio * group["lr"])
