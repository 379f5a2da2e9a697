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
        if self.how == "last":
            return self._last(states, mask)
        if self.how == "max":
            return states.masked_fill(~mask.unsqueeze(-1), torch.finfo(states.dtype).min).amax(dim=1)
        if self.how == "mean":
            weights = mask.to(states.dtype) / mask.sum(dim=1, keepdim=True)
        else:
            scores = self.score(states).squeeze(-1).float()
            weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=1).to(states.dtype)
        return torch.bmm(weights.unsqueeze(1), states).squeeze(1)

    def _last(self, states: Tensor, mask: Tensor) -> Tensor:
        end = (mask.sum(dim=1) - 1).view(-1, 1, 1).expand(-1, 1, states.shape[-1])
        last = states.gather(1, end).squeeze(1)
        if self.directions == 1:
            return last
        half = states.shape[-1] // 2
        return torch.cat([last[:, :half], states[:, 0, half:]], dim=-1)
