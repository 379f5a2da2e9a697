"""Heads of our own on a bare encoder: pooling by choice, a hidden layer, any architecture."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from registry.models.pooling import pool

Pooling = Literal["default", "cls", "pooler", "mean", "max", "last"]


class HeadedEncoder(nn.Module):
    """An encoder with a classification head on the pooled text, or on every token.

    The encoder is registered under the name that transformers gives it in its own headed models
    ("bert", "model.encoder"), so that any of those can start from the weights saved here.

    Args:
        model: the bare architecture; of an encoder-decoder the encoder is taken.
        pooling: None for a head on every token; else how token states become one vector a text.
        hidden: width of a hidden layer with ReLU; 0 for none.
    """

    def __init__(
        self, model: PreTrainedModel, *, outputs: int, pooling: Pooling | None, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.config = model.config
        self.pooling = pooling
        # The encoder of an encoder-decoder stands one level deeper, and may have a configuration of its own.
        inside = model.config.is_encoder_decoder
        encoder = model.get_encoder() if inside else model
        setattr(self, encoder.base_model_prefix, nn.ModuleDict({"encoder": encoder}) if inside else encoder)
        self.encoder_name = f"{encoder.base_model_prefix}.encoder" if inside else encoder.base_model_prefix
        width = output_width(encoder)
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        if hidden:
            layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout)]
        self.head = nn.Sequential(*layers, nn.Linear(hidden or width, outputs))

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pooled: Tensor | None = None,
        **inputs: Tensor,
    ) -> dict[str, Any]:
        """`logits` (batch, labels) with `pooled` (batch, width), or `logits` (batch, length, labels).

        Args:
            pooled: what an earlier call gave, in place of all other inputs.
        """
        if pooled is not None:
            return {"logits": self.head(pooled), "pooled": pooled}
        assert input_ids is not None
        if attention_mask is not None:
            inputs["attention_mask"] = attention_mask
        outputs = self.get_submodule(self.encoder_name)(input_ids=input_ids, **inputs)
        states = outputs["last_hidden_state"]
        if self.pooling is None:
            return {"logits": self.head(states)}
        if self.pooling == "pooler":
            pooled = outputs["pooler_output"]
        else:
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            pooled = pool(states, mask.bool(), self.pooling)
        return {"logits": self.head(pooled), "pooled": pooled}


def output_width(encoder: PreTrainedModel) -> int:
    """Width of the encoder's last states; OPT projects them to the width of its embeddings."""
    config = encoder.config
    return int(getattr(config, "word_embed_proj_dim", None) or config.hidden_size)
