"""A linear-chain conditional random field over the scored positions of a batch (Lafferty et al. 2001).

Everything happens in `forward`, in float32 and over the whole batch at once: the likelihood by the
forward algorithm, the best path by Viterbi.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from registry.heads import IGNORE


@dataclass(frozen=True)
class Chain:
    """The scored positions of each row moved to its left, in their order.

    Args:
        order: (batch, width) original position of each.
        mask: (batch, width) False behind the row's last.
    """

    order: Tensor
    mask: Tensor

    @classmethod
    def of(cls, scored: Tensor) -> Chain:
        """From a (batch, length) bool mask of scored positions."""
        order = scored.to(torch.int8).argsort(dim=1, descending=True, stable=True)
        lengths = scored.sum(dim=1, keepdim=True)
        return cls(order, torch.arange(scored.shape[1], device=scored.device) < lengths)

    def gather(self, values: Tensor) -> Tensor:
        """(batch, length, …) by position -> (batch, width, …) by place in the chain."""
        index = self.order.view(*self.order.shape, *[1] * (values.dim() - 2)).expand(-1, -1, *values.shape[2:])
        return values.gather(1, index)


class CRF(nn.Module):
    """Transition scores between labels, and what follows from them.

    Args:
        labels: how many there are.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(labels))
        self.end = nn.Parameter(torch.zeros(labels))
        self.transitions = nn.Parameter(torch.empty(labels, labels).uniform_(-0.1, 0.1))

    def forward(self, emissions: Tensor, words: Tensor, labels: Tensor | None = None) -> tuple[Tensor | None, Tensor]:
        """Negative log-likelihood of each row, and the best labels.

        Args:
            emissions: (batch, length, labels) scores.
            words: (batch, length) bool: the positions that carry a label; the others do not exist for the chain.
            labels: (batch, length); IGNORE at word positions drops them from the likelihood.

        Returns:
            (batch,) losses, None without labels; (batch, length) best labels, IGNORE outside `words` (in
            training mode everywhere: the path is searched in evaluation only).
        """
        emissions = emissions.float()
        losses = None
        if labels is not None:
            chain = Chain.of(words & (labels != IGNORE))
            losses = self._losses(chain.gather(emissions), chain.gather(labels).clamp(min=0), chain.mask)
        best = torch.full(words.shape, IGNORE, dtype=torch.long, device=words.device)
        if not self.training:
            chain = Chain.of(words)
            path = self._viterbi(chain.gather(emissions), chain.mask)
            best.scatter_(1, chain.order, path.masked_fill(~chain.mask, IGNORE))
        return losses, best

    def _losses(self, emissions: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """log Z - score of the path, 0 for rows without a scored position."""
        width = _width(mask)
        emissions, labels, mask = emissions[:, :width], labels[:, :width], mask[:, :width]
        score = self._path_score(emissions, labels, mask)
        alpha = self.start + emissions[:, 0]
        for step in range(1, width):
            arrived = torch.logsumexp(alpha.unsqueeze(2) + self.transitions, dim=1) + emissions[:, step]
            alpha = torch.where(mask[:, step, None], arrived, alpha)
        return (torch.logsumexp(alpha + self.end, dim=1) - score) * mask[:, 0]

    def _path_score(self, emissions: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        emitted = emissions.gather(2, labels.unsqueeze(2)).squeeze(2)
        moved = self.transitions[labels[:, :-1], labels[:, 1:]] * mask[:, 1:]
        last = labels.gather(1, (mask.sum(dim=1, keepdim=True) - 1).clamp(min=0)).squeeze(1)
        return self.start[labels[:, 0]] + (emitted * mask).sum(dim=1) + moved.sum(dim=1) + self.end[last]

    @torch.no_grad()
    def _viterbi(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """(batch, width) best path; arbitrary where `mask` is False."""
        width = _width(mask)
        stay = torch.arange(emissions.shape[2], device=emissions.device).expand(emissions.shape[0], -1)
        best, pointers = self.start + emissions[:, 0], []
        for step in range(1, width):
            arrived, source = (best.unsqueeze(2) + self.transitions).max(dim=1)
            alive = mask[:, step, None]
            best = torch.where(alive, arrived + emissions[:, step], best)
            pointers.append(torch.where(alive, source, stay))
        path = torch.zeros(mask.shape, dtype=torch.long, device=mask.device)
        label = (best + self.end).argmax(dim=1, keepdim=True)
        path[:, width - 1 : width] = label
        for step in range(width - 1, 0, -1):
            label = pointers[step - 1].gather(1, label)
            path[:, step - 1 : step] = label
        return path


def _width(mask: Tensor) -> int:
    """Positions to go through; a GPU is not waited for: steps behind the longest row change nothing."""
    return mask.shape[1] if mask.is_cuda else max(int(mask.sum(dim=1).max()), 1)
