"""Modules for a configuration and a head: built from a checkpoint or at random, saved and loaded."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging

from registry.heads import MASKED_LM, SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION, Head
from registry.models.base import ModelSource
from registry.models.heads import HeadedEncoder, Pooling
from registry.models.layers import find_backbone, layer_map, layer_stacks
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
        """The module around a model of the class."""
        if self.own:
            encoder = model.get_encoder() if model.config.is_encoder_decoder else model
            return HeadedEncoder(
                encoder, outputs=self.head.outputs, pooling=self.pooling, hidden=self.hidden, dropout=self.dropout
            )
        if self.head.kind == MASKED_LM:
            ScoredPositions().attach(model, find_backbone(model)[1])
        return model


def plan_head(config: PreTrainedConfig, head: Head, pooling: Pooling, hidden: int, dropout: float | None) -> HeadPlan:
    """The head that a configuration can carry.

    Raises:
        ValueError: it cannot; says why.
    """
    headed = HEADED[head.kind].get(type(config), None)
    if head.kind == MASKED_LM:
        if headed is None:
            raise ValueError(f"{config.model_type} has no masked-lm head: it was not made to fill masked positions")
        return HeadPlan(head, _first(headed))
    if headed is not None and pooling == "default" and not hidden:
        return HeadPlan(head, _first(headed))
    if type(config) not in MODEL_MAPPING:
        raise ValueError(f"{config.model_type} is no text encoder that transformers can put a head on")
    return HeadPlan(
        head,
        _first(MODEL_MAPPING[type(config)]),
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


def new_module(plan: HeadPlan, config: PreTrainedConfig) -> nn.Module:
    """The module with random weights."""
    with _whole_parameters():
        return plan.finish(plan.model_class._from_config(config, dtype=torch.float32, **plan.arguments()))


def pretrained_module(plan: HeadPlan, config: PreTrainedConfig, source: ModelSource) -> nn.Module:
    """The module with a checkpoint's weights under a new head.

    Raises:
        ValueError: the checkpoint cannot be read or lacks weights of the encoder.
    """
    try:
        model, report = _from_files(
            plan,
            config,
            source.path,
            revision=source.revision or "main",
            ignore_mismatched_sizes=True,
        )
    except (OSError, RuntimeError) as error:
        raise ValueError(f"model {source.path!r} cannot be loaded: {str(error).strip()}") from error
    module = plan.finish(model)
    mismatched = {key for key, *_ in report["mismatched_keys"]}
    _check_complete(module, {*report["missing_keys"], *mismatched}, source.path)
    return module


def _check_complete(module: nn.Module, random: set[str], path: str) -> None:
    """ValueError when weights of the embeddings or layers are not the checkpoint's."""
    depths = layer_map(module)
    head = max(depths.values())
    prefix, _ = find_backbone(module)
    lacking = sorted(key for key in random if depths.get(key, depths.get(prefix + key, head)) < head)
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise ValueError(f"model {path!r}: its checkpoint has no weights of fitting shape for {lacking[0]}{more}")


def reinitialise(module: nn.Module, depths: Mapping[str, int], layers: int) -> None:
    """Give the top `layers` layers new random weights, as the architecture draws them."""
    if not layers:
        return
    _, backbone = find_backbone(module)
    stacks = layer_stacks(backbone)
    last = max((depth for depth, _ in stacks.values()), default=0)
    if layers > last:
        raise ValueError(f"--model-option reinit_layers={layers}: the model has {last} layers")
    for depth, layer in stacks.values():
        if depth > last - layers:
            for part in layer.modules():
                for parameter in part.parameters(recurse=False):
                    parameter._is_hf_initialized = False  # type: ignore[attr-defined]
                backbone._init_weights(part)  # type: ignore[operator]


def save_module(module: nn.Module, state_dict: Mapping[str, Tensor], directory: Path) -> None:
    """Write configuration and weights, safetensors only."""
    if isinstance(module, PreTrainedModel):
        with _quiet():
            module.save_pretrained(directory, state_dict=dict(state_dict))
        return
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    module.config.save_pretrained(directory)  # type: ignore[union-attr, operator]
    weights = {name: tensor.detach().contiguous().clone() for name, tensor in state_dict.items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def load_module(plan: HeadPlan, config: PreTrainedConfig, directory: Path) -> nn.Module:
    """The module that `save_module` wrote."""
    if plan.own:
        from safetensors.torch import load_file

        module = new_module(plan, config)
        module.load_state_dict(load_file(directory / "model.safetensors"))
        return module
    model, report = _from_files(plan, config, directory, local_files_only=True, use_safetensors=True)
    if report["missing_keys"]:
        raise ValueError(f"{directory}: its weights lack {sorted(report['missing_keys'])[0]}")
    return plan.finish(model)


def _from_files(
    plan: HeadPlan, config: PreTrainedConfig, path: str | Path, **loading: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The class filled from a checkpoint, and the report of what was missing."""
    with _whole_parameters(), _quiet():
        loaded: Any = plan.model_class.from_pretrained(
            path, config=config, dtype=torch.float32, output_loading_info=True, **loading, **plan.arguments()
        )
    return loaded


def skeleton(config: PreTrainedConfig) -> tuple[list[str], int | None]:
    """Inputs that the architecture is given, and how many positions it has; no weights are made.

    A model that padding would disturb is given no attention mask, and so batches of equal length.
    """
    with torch.device("meta"), _whole_parameters():
        model = _first(MODEL_MAPPING[type(config)])._from_config(config)
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
    """Whether nothing but masked attention mixes positions: no convolution, no neighbours' embeddings."""
    mixes = any(isinstance(part, nn.Conv1d) and part.kernel_size[0] > 1 for part in model.modules())
    return not mixes and not getattr(model.config, "trigram_input", False)


def _first(found: Any) -> type[PreTrainedModel]:
    return found[0] if isinstance(found, (list, tuple)) else found


@contextlib.contextmanager
def _whole_parameters() -> Iterator[None]:
    """Build with whole tensors on every process: ZeRO-3 partitions them later, when the engine prepares the model.

    Partitioned at birth, parameters look empty to whatever asks for their shape or draws new weights.
    """
    from transformers.integrations import deepspeed

    kept = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = kept


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No load report: which weights are new is checked and said by us."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
