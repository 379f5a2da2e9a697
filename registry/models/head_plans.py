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
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from registry.heads import MASKED_LM, SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION, Head
from registry.models.base import ModelSource
from registry.models.heads import HeadedEncoder, Pooling
from registry.models.layers import find_backbone
from registry.models.scored_positions import ScoredPositions

HEADED: dict[str, Any] = {
    SEQUENCE_CLASSIFICATION: AutoModelForSequenceClassification,
    TOKEN_CLASSIFICATION: AutoModelForTokenClassification,
    MASKED_LM: AutoModelForMaskedLM,
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
            if self.pooling == "pooler" and not isinstance(getattr(model, "pooler", None), nn.Module):
                raise ValueError(
                    f"--model-option pooling=pooler: {model.config.model_type} has no pooler; take cls or mean"
                )
            return HeadedEncoder(
                model, outputs=self.head.outputs, pooling=self.pooling, hidden=self.hidden, dropout=self.dropout
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


def plan_head(
    config: PreTrainedConfig,
    head: Head,
    source: ModelSource,
    *,
    pooling: Pooling = "default",
    hidden: int = 0,
    dropout: float | None = None,
) -> HeadPlan:
    """The head that a configuration can carry.

    Raises:
        ValueError: it cannot; says why.
    """
    headed = find_class(HEADED[head.kind], config, source)
    if head.kind == MASKED_LM:
        if headed is None:
            raise ValueError(f"{config.model_type} has no masked-lm head: it was not made to fill masked positions")
        return HeadPlan(head, headed)
    # Encoder-decoders of which transformers offers the encoder alone (T5) need no decoder to classify a text.
    encoder_alone = config.is_encoder_decoder and type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING
    pools = head.kind == SEQUENCE_CLASSIFICATION
    if headed is not None and not hidden and not (pools and (pooling != "default" or encoder_alone)):
        return HeadPlan(head, headed)
    if pooling == "default":
        pooling = default_pooling(config)
    return HeadPlan(
        head,
        bare_class(config, source),
        own=True,
        pooling=pooling if pools else None,
        hidden=hidden,
        dropout=0.1 if dropout is None else dropout,
    )


def find_class(auto: Any, config: PreTrainedConfig, source: ModelSource) -> Any:
    """The class that one of transformers' Auto classes stands for; None where it knows none."""
    reference = (getattr(config, "auto_map", None) or {}).get(auto.__name__)
    if reference is not None and source.trust_remote_code:
        from transformers.dynamic_module_utils import get_class_from_dynamic_module

        remote: Any = get_class_from_dynamic_module(reference, source.path, revision=source.revision)
        remote.register_for_auto_class(auto.__name__)
        return remote
    found = auto._model_mapping.get(type(config), None)
    return found[0] if isinstance(found, (list, tuple)) else found


def bare_class(config: PreTrainedConfig, source: ModelSource) -> type[PreTrainedModel]:
    """The architecture without a head; ValueError where transformers has none."""
    found = find_class(AutoModel, config, source)
    if found is None:
        raise ValueError(f"{config.model_type} is no text encoder that a head can be put on")
    return found


def default_pooling(config: PreTrainedConfig) -> Pooling:
    """Decoders have seen the whole text at its last token alone; anything else is averaged."""
    causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING
    return "last" if causal and not config.is_encoder_decoder else "mean"
