"""Parameter groups: weight decay or none, times the learning rate of a parameter's depth.

Layer-wise decay (Howard & Ruder 2018; Clark et al. 2020) gives depth d of n the rate
``learning_rate * layer_decay ** (n - d)``: embeddings learn slowest, the head at the full rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def build_param_groups(
    model: nn.Module,
    layer_map: Mapping[str, int],
    *,
    learning_rate: float,
    weight_decay: float,
    layer_decay: float = 1.0,
    head_learning_rate: float | None = None,
) -> list[dict[str, Any]]:
    """Groups for an optimizer, rates rising towards the head; every trainable parameter is in exactly one.

    Biases, norms and other vectors never decay. Parameters of equal rate and decay share a group,
    so that two groups are all there is without layer-wise decay.

    Args:
        layer_map: depth by parameter name (`spec.layer_map`); the greatest depth is the head's.
        head_learning_rate: rate of the head, where it is not `learning_rate`.

    Raises:
        ValueError: `layer_map` lacks a trainable parameter.
    """
    top = max(layer_map.values(), default=0)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in sorted(model.named_parameters(), key=lambda item: layer_map.get(item[0], top)):
        if not parameter.requires_grad:
            continue
        if name not in layer_map:
            raise ValueError(f"the model's layer map says nothing of parameter {name!r}")
        depth = layer_map[name]
        rate = learning_rate * layer_decay ** (top - depth)
        if depth == top and head_learning_rate is not None:
            rate = head_learning_rate
        decay = weight_decay if len(shape_of(parameter)) > 1 else 0.0
        group = groups.setdefault((rate, decay), {"params": [], "lr": rate, "weight_decay": decay, "depths": []})
        group["params"].append(parameter)
        if depth not in group["depths"]:
            group["depths"].append(depth)
    return list(groups.values())


def describe_groups(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The table of groups that --dry-run shows and a run keeps: depths, rate, decay, tensors, parameters."""
    return [
        {
            "depths": _span(group["depths"]),
            "learning_rate": group.get("initial_lr", group["lr"]),
            "weight_decay": group["weight_decay"],
            "tensors": len(group["params"]),
            "parameters": sum(math.prod(shape_of(p)) for p in group["params"]),
        }
        for group in groups
    ]


def shape_of(parameter: Tensor) -> tuple[int, ...]:
    """A parameter's whole shape; ZeRO-3 keeps it aside and leaves an empty tensor in place."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def _span(depths: Sequence[int]) -> str:
    return str(depths[0]) if len(depths) == 1 else f"{depths[0]}-{depths[-1]}"
