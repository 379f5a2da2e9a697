"""What an architecture looks like, from a module without weights."""

from __future__ import annotations

import inspect

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from registry.models.base import ModelSource
from registry.models.building import whole_parameters
from registry.models.head_plans import bare_class

MIXING_VALUES = ("trigram_input", "block_sizes", "hash_code_len")
"""Configuration values of what no attention mask stops: neighbours' embeddings, pooled states, attention by hash."""


def skeleton(config: PreTrainedConfig, source: ModelSource) -> tuple[list[str], int | None]:
    """Inputs that the architecture is given, and how many positions it has; no weights are made.

    A model that padding would disturb is given no attention mask, and so batches of equal length.
    """
    with torch.device("meta"), whole_parameters():
        model = bare_class(config, source)._from_config(config)
    inputs = set(inspect.signature(model.forward).parameters)
    if not _masks_padding(model):
        inputs.discard("attention_mask")
    types = getattr(config, "type_vocab_size", None)
    if types is not None and types < 2:
        inputs.discard("token_type_ids")
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None:
        tables = [p for p in model.modules() if isinstance(p, nn.Embedding) and p.num_embeddings == positions]
        positions -= max((p.padding_idx + 1 for p in tables if p.padding_idx is not None), default=0)
    return sorted(inputs), positions


def _masks_padding(model: PreTrainedModel) -> bool:
    """Whether nothing but masked attention mixes positions: no convolution, no pooling, no neighbours' embeddings."""
    mixes = any(_joins_neighbours(part) for part in model.modules())
    return not mixes and not any(getattr(model.config, name, None) for name in MIXING_VALUES)


def _joins_neighbours(part: nn.Module) -> bool:
    """Whether it is a convolution over tokens; one that cuts an image into patches has windows that do not overlap."""
    if isinstance(part, nn.Conv2d):
        return any(size > step for size, step in zip(part.kernel_size, part.stride, strict=True))
    return isinstance(part, nn.Conv1d) and part.kernel_size[0] > 1
