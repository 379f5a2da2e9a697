"""Embedding, encoder and head: the network of every word-level model."""

from __future__ import annotations

import abc

from torch import Tensor, nn

from registry.models.crf import CRF
from registry.models.pooling import Pool


class Encoder(nn.Module, abc.ABC):
    """(batch, length, embedding) and a (batch, length) bool mask -> (batch, length, width).

    States of padded positions are arbitrary; no other state may depend on them.

    Args:
        width: of the states.
        directions: 2 when the second half of the width is read from right to left.
    """

    width: int
    directions: int = 1

    @abc.abstractmethod
    def forward(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """Token states."""

    @abc.abstractmethod
    def depths(self) -> dict[str, int]:
        """Depth of every parameter by name, counted from 1."""


class Network(nn.Module):
    """Embedding, encoder and head; `pool` is None for a label on every token."""

    def __init__(
        self, embedding: nn.Embedding, encoder: Encoder, pool: Pool | None, outputs: int, dropout: float, crf: bool
    ) -> None:
        super().__init__()
        self.embedding, self.encoder, self.pool = embedding, encoder, pool
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(encoder.width, outputs)
        self.crf = CRF(outputs) if crf else None

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor | None = None,
        word_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Logits; with a CRF also `predictions` and, given labels, `scored_loss` by row and `loss_sum`."""
        mask = attention_mask.bool()
        states = self.encoder(self.dropout(self.embedding(input_ids)), mask)
        if self.pool is not None:
            pooled = self.pool(states, mask)
            return {"logits": self.classifier(self.dropout(pooled)), "pooled": pooled}
        logits = self.classifier(self.dropout(states))
        if self.crf is None:
            return {"logits": logits}
        words = mask if word_mask is None else mask & word_mask.bool()
        losses, predictions = self.crf(logits, words, labels)
        # The path is searched in evaluation only; training's metrics are of the best tag of each word.
        found = {"logits": logits} if self.training else {"logits": logits, "predictions": predictions}
        return found if losses is None else {**found, "scored_loss": losses, "loss_sum": losses.sum()}
