"""Scores of texts from the valences of their words.

A text's score is the sum of its words' valences over the square root of how many there are; a
negator up to three tokens before turns a valence round and weakens it (Hutto and Gilbert 2014).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NEGATED, REACH = -0.74, 3


class Lexicon(nn.Module):
    """Two logits from the score's distance to the threshold. All numbers are buffers."""

    valences: Tensor
    negates: Tensor
    threshold: Tensor
    slope: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("valences", torch.zeros(size))
        self.register_buffer("negates", torch.zeros(size))
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("slope", torch.ones(()))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """`logits` (batch, 2); their difference is the log-odds of the second label."""
        margin = self.slope * (self.scores(input_ids, attention_mask.bool()) - self.threshold) / 2
        return {"logits": torch.stack([-margin, margin], dim=1)}

    def scores(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """(batch,) sum of valences over the square root of their number; 0 where there is none."""
        valences = self.valences[input_ids] * mask
        negators = F.pad(self.negates[input_ids] * mask, (REACH, 0))
        near = negators.unfold(1, REACH, 1)[:, : input_ids.shape[1]].amax(dim=2) > 0
        signed = torch.where(near, valences * NEGATED, valences)
        return signed.sum(dim=1) / (valences != 0).sum(dim=1).clamp(min=1).sqrt()
