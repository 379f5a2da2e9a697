"""Which class carries a head: transformers' own where it has one, else ours on the bare encoder."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    PreTrainedConfig,
    PreTrainedModel,
)

from registry.heads import MASKED_LM, SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION, Head
from registry.models.heads import HeadedEncoder, Pooling
from registry.models.layers import find_backbone
from registry.models.scored_positions import ScoredPositions

HEADED = {
    SEQUENCE_CLASSIFICATION: MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    TOKEN_CLASSIFICATION: MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    MASKED_LM: MODEL_FOR_MASKED_LM_MAPPING,
}


@dataclass(frozen=True)
class HeadPlan:
    """Which class carries the head, and how.

    Args:
        model_class: transformers' headed class, or the bare one that `HeadedEncoder` is put on.
        own: whether the head is ours.
        pooling: how our head pools; None for a head on every token.
    """

    head: Head
    model_class: type[PreTrainedModel]
    own: bool = False
    pooling: Pooling | None = None
    hidden: int = 0
    dropout: float = 0.1

    def arguments(self) -> dict[str, Any]:
        """What the class is built with: no pooler that nothing reads, for DDP waits for its gradients."""
        takes = inspect.signature(self.model_class.__init__).parameters
        return {"add_pooling_layer": self.pooling == "pooler"} if self.own and "add_pooling_layer" in takes else {}

    def finish(self, model: PreTrainedModel) -> nn.Module:
        """The module around a model of the class; parts of it that this head never reads are not trained."""
        for parameter in self._unread(find_backbone(model)[1]):
            parameter.requires_grad_(False)
        if self.own:
            encoder = model.get_encoder() if model.config.is_encoder_decoder else model
            return HeadedEncoder(
                encoder, outputs=self.head.outputs, pooling=self.pooling, hidden=self.hidden, dropout=self.dropout
            )
        if self.head.kind == MASKED_LM:
            ScoredPositions().attach(model, find_backbone(model)[1])
        return model

    def _unread(self, backbone: nn.Module) -> Iterator[nn.Parameter]:
        """Parameters without a gradient, which DDP would wait for: a pooler, attention that only a [CLS] vector has."""
        pools = self.head.kind == SEQUENCE_CLASSIFICATION and not self.own
        if not pools and self.pooling != "pooler" and isinstance(getattr(backbone, "pooler", None), nn.Module):
            yield from backbone.pooler.parameters()  # type: ignore[union-attr]
        if not pools and "global_attention_mask" in inspect.signature(backbone.forward).parameters:
            yield from (parameter for name, parameter in backbone.named_parameters() if "_global." in name)


def plan_head(config: PreTrainedConfig, head: Head, pooling: Pooling, hidden: int, dropout: float | None) -> HeadPlan:
    """The head that a configuration can carry.

    Raises:
        ValueError: it cannot; says why.
    """
    headed = HEADED[head.kind].get(type(config), None)
    if head.kind == MASKED_LM:
        if headed is None:
            raise ValueError(f"{config.model_type} has no masked-lm head: it was not made to fill masked positions")
        return HeadPlan(head, first_class(headed))
    # Encoder-decoders of which transformers offers the encoder alone (T5) need no decoder to classify a text.
    encoder_alone = config.is_encoder_decoder and type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING
    pools = head.kind == SEQUENCE_CLASSIFICATION
    if headed is not None and not hidden and not (pools and (pooling != "default" or encoder_alone)):
        return HeadPlan(head, first_class(headed))
    if type(config) not in MODEL_MAPPING:
        raise ValueError(f"{config.model_type} is no text encoder that transformers can put a head on")
    return HeadPlan(
        head,
        first_class(MODEL_MAPPING[type(config)]),
        own=True,
        pooling=None
        if head.kind == TOKEN_CLASSIFICATION
        else default_pooling(config)
        if pooling == "default"
        else pooling,
        hidden=hidden,
        dropout=0.1 if dropout is None else dropout,
    )


def default_pooling(config: PreTrainedConfig) -> Pooling:
    """Decoders have seen the whole text at its last token alone; anything else is averaged."""
    causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING
    return "last" if causal and not config.is_encoder_decoder else "mean"


def first_class(found: Any) -> type[PreTrainedModel]:
    """The class that transformers maps a configuration to; the first where it names several."""
    return found[0] if isinstance(found, (list, tuple)) else found
