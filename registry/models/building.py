"""Modules for a configuration and a head: built from a checkpoint or at random, saved and loaded."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from registry.heads import Head
from registry.models.base import ModelSource
from registry.models.head_plans import HeadPlan
from registry.models.layers import find_backbone, layer_map, layer_stacks
from registry.models.saved_heads import adopt, clash, label_rows, row_order

WEIGHTS = "model.safetensors"


def new_module(plan: HeadPlan, config: PreTrainedConfig) -> nn.Module:
    """The module with random weights."""
    with whole_parameters():
        return plan.finish(plan.model_class._from_config(config, dtype=torch.float32, **plan.arguments()))


def pretrained_module(
    plan: HeadPlan, config: PreTrainedConfig, source: ModelSource, entries: int, saved: Head
) -> nn.Module:
    """The module with a checkpoint's weights, under a new head where it has none of this shape for these labels.

    Args:
        entries: of the tokenizer; tokens that were added to it get new embeddings.
        saved: the head that the checkpoint comes with (`saved_head`).

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
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"model {source.path!r} cannot be loaded: {' '.join(str(error).split())}") from error
    if entries > model.get_input_embeddings().weight.shape[0]:  # type: ignore[union-attr, index]
        model.resize_token_embeddings(entries, mean_resizing=False)
    random = {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
    weights = {name: parameter for name, parameter in model.named_parameters() if name in random}
    if not plan.own:
        adopt(model, saved, plan.head)
    module = plan.finish(model)
    if plan.own and not clash(saved, plan.head):
        _take_head(module, Path(source.path) / WEIGHTS, row_order(saved, plan.head), plan.head)
    _check_complete(module, weights, source.path)
    return module


def _take_head(module: nn.Module, file: Path, order: list[int] | None, head: Head) -> None:
    """Give a head of ours the weights of the one that `save_module` wrote, as transformers does with its own heads.

    Args:
        order: the saved row of each label; None where there are not as many.
    """
    if not file.is_file():
        return
    wanted = {name: tensor.shape for name, tensor in module.state_dict().items() if name.startswith("head.")}
    with safe_open(file, framework="pt") as saved:
        found = {name: saved.get_tensor(name) for name in saved.keys() if name in wanted}  # noqa: SIM118
    if order is not None and {name: tensor.shape for name, tensor in found.items()} == wanted:
        rows = {name: found[name][order] for name in label_rows(module, head)}
        module.load_state_dict(found | rows, strict=False)


def _check_complete(module: nn.Module, random: Mapping[str, nn.Parameter], path: str) -> None:
    """ValueError when weights of the embeddings or layers are not the checkpoint's."""
    named = layer_map(module)
    depths = {id(parameter): named[name] for name, parameter in module.named_parameters()}
    head = max(named.values())
    lacking = sorted(name for name, parameter in random.items() if depths.get(id(parameter), head) < head)
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise ValueError(f"model {path!r}: its checkpoint has no weights of fitting shape for {lacking[0]}{more}")


def reinitialise(module: nn.Module, layers: int) -> None:
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
            for parameter in layer.parameters():
                parameter._is_hf_initialized = False  # type: ignore[attr-defined]
            layer.apply(backbone._init_weights)  # type: ignore[arg-type]  # parts before wholes: these have the last word


def save_module(module: nn.Module, state_dict: Mapping[str, Tensor], directory: Path) -> None:
    """Write configuration and weights, safetensors only."""
    if isinstance(module, PreTrainedModel):
        with _quiet():
            module.save_pretrained(directory, state_dict=dict(state_dict))
        return
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    config = copy.deepcopy(module.config)
    config.architectures = None  # type: ignore[union-attr]  # none of transformers' has this head
    config.save_pretrained(directory)  # type: ignore[union-attr, operator]
    weights = {name: tensor.detach().contiguous().clone() for name, tensor in state_dict.items()}
    save_file(weights, directory / WEIGHTS, metadata={"format": "pt"})


def load_module(plan: HeadPlan, config: PreTrainedConfig, directory: Path) -> nn.Module:
    """The module that `save_module` wrote."""
    if (directory / "adapter_config.json").exists():  # transformers would load the base that it names instead
        raise ValueError(f"{directory}: holds an adapter_config.json, which is not of this run")
    if plan.own:
        from safetensors.torch import load_file

        module = new_module(plan, config)
        module.load_state_dict(load_file(directory / WEIGHTS))
        return module
    model, report = _from_files(plan, config, directory, local_files_only=True, use_safetensors=True)
    if report["missing_keys"]:
        raise ValueError(f"{directory}: its weights lack {sorted(report['missing_keys'])[0]}")
    return plan.finish(model)


def _from_files(
    plan: HeadPlan, config: PreTrainedConfig, path: str | Path, **loading: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The class filled from a checkpoint, and the report of what was missing."""
    with whole_parameters(), _quiet():
        loaded: Any = plan.model_class.from_pretrained(
            path, config=config, dtype=torch.float32, output_loading_info=True, **loading, **plan.arguments()
        )
    return loaded


@contextlib.contextmanager
def whole_parameters() -> Iterator[None]:
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
