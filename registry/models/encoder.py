"""A Transformer encoder from random weights that learns from tens of thousands of texts (Vaswani et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.models.baseline import Baseline, Pooling
from registry.plugins import option

if TYPE_CHECKING:
    from registry.models.networks.attention import TransformerEncoder


@dataclass(frozen=True, kw_only=True)
class FromScratch(Baseline):
    """A small encoder with a vocabulary of its own; `embedding_size` is its width."""

    layers: int = option(2, "Blocks.", minimum=1)
    attention_heads: int = option(4, "Attention heads; they share the width.", minimum=1)
    inner_size: int = option(512, "Width of the feed-forward layers.", minimum=1)
    pooling: Pooling = option("mean", "How token states become one vector.")
    dropout: float = option(0.2, "Everywhere.", minimum=0, maximum=0.95)

    def encoder(self) -> TransformerEncoder:
        """Fresh blocks."""
        from registry.models.networks.attention import TransformerEncoder

        if self.embedding_size % self.attention_heads:
            raise ValueError(
                f"embedding_size {self.embedding_size} is not a multiple of attention_heads {self.attention_heads}"
            )
        return TransformerEncoder(self.embedding_size, self.layers, self.attention_heads, self.inner_size, self.dropout)


transformer_encoder = FromScratch(
    description="a small Transformer encoder from random weights",
    defaults={
        "learning_rate": 5e-4,
        "epochs": 8,
        "batch_size": 32,
        "max_length": 400,
        "warmup": 0.1,
        "weight_decay": 0.05,
        "precision": "fp32",
    },
)
