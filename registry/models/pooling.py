"""From token states to one vector a text; padded positions never count."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from registry.models.baseline import Pooling


class Pool(nn.Module):
    """(batch, length, width) states and a (batch, length) bool mask with at least one True a row -> (batch, width).

    Args:
        how: "last" takes the last forward state and, where the width is shared by two directions,
            the first backward one; "attention" weighs tokens by a learned score (Yang et al. 2016).
        directions: 2 when the second half of the width was read from right to left.
    """

    def __init__(self, how: Pooling, width: int, directions: int = 1) -> None:
        super().__init__()
        self.how, self.directions = how, directions
        if how == "attention":
            self.score = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1, bias=False))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Pool the states of the positions where `mask` is True."""
        if self.how == "attention":
            scores = self.score(states).squeeze(-1).float().masked_fill(~mask, float("-inf"))
            return torch.bmm(scores.softmax(dim=1).to(states.dtype).unsqueeze(1), states).squeeze(1)
        if self.how == "last" and self.directions == 2:
            forwards, backwards = states.chunk(2, dim=-1)
            return torch.cat([pool(forwards, mask, "last"), pool(backwards, mask, "cls")], dim=-1)
        return pool(states, mask, self.how)


def pool(states: Tensor, mask: Tensor, how: str) -> Tensor:
    """(batch, length, width) states and a bool mask of real tokens -> (batch, width); padding on either side.

    Args:
        how: "mean", "max", "last" or "cls" (the first).
    """
    if how == "mean":
        weights = mask.to(states.dtype).unsqueeze(-1)
        return (states * weights).sum(1) / weights.sum(1).clamp_min(1)
    if how == "max":
        return states.masked_fill(~mask.unsqueeze(-1), torch.finfo(states.dtype).min).amax(1)
    positions = torch.arange(mask.shape[1], device=mask.device)
    chosen = (positions * mask).argmax(1) if how == "last" else mask.int().argmax(1)
    return states[torch.arange(len(states), device=states.device), chosen]
