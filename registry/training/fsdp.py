"""FSDP (torch's fully_shard): which layers are cut, and the pieces of tensors that a process holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from registry.models.layers import find_backbone, layer_stacks

if TYPE_CHECKING:
    from accelerate import Accelerator

TABLES = ("get_input_embeddings", "get_output_embeddings")
"""By which transformers, and who reads its models, find the tables of embeddings."""


def choose_layers(accelerator: Accelerator, module: nn.Module) -> None:
    """Have the layers of the module's stacks cut one by one, where the launch configuration names no others.

    accelerate would take what transformers keeps on one device, which may be embeddings and their table at once:
    it cuts that table a second time, and fails.
    """
    if accelerator.distributed_type != "FSDP":
        return
    plugin: Any = accelerator.state.fsdp_plugin
    if plugin.transformer_cls_names_to_wrap is None:
        layers = layer_stacks(find_backbone(module)[1]).values()
        kinds = {type(layer) for _, layer in layers}
        plugin.transformer_cls_names_to_wrap = sorted(k.__name__ for k in kinds if k.forward is not nn.Module.forward)


@contextmanager
def one_group_for_embeddings(accelerator: Accelerator, module: nn.Module) -> Iterator[None]:
    """Have FSDP cut tied embeddings with what is in no layer, where accelerate would give them a group of their own.

    The output's bias belongs to the module around it, too (BERT, RoBERTa), and no parameter may be in two groups.
    """
    tables = [getattr(module, name, lambda: None)() for name in TABLES]
    weights = {id(getattr(table, "weight", table)) for table in tables}
    if accelerator.distributed_type != "FSDP" or None in tables or len(weights) > 1:
        yield
        return
    for name in TABLES:
        object.__setattr__(module, name, lambda: None)
    try:
        yield
    finally:
        for name in TABLES:
            object.__delattr__(module, name)


def pieces_suffix(accelerator: Accelerator) -> str:
    """What the names of this process's files end in, where each writes its pieces; empty where the first has all."""
    return f"-{accelerator.process_index}" if accelerator.distributed_type == "FSDP" else ""


def piece(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor; the tensor itself where nothing is cut."""
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).detach()


def as_cut(held: Tensor, parameter: Tensor) -> Tensor:
    """Optimizer state of a parameter from the piece of it that this process holds: cut like the parameter."""
    if not isinstance(parameter, DTensor) or held.shape != parameter.to_local().shape:
        return held  # a counter, most likely
    held = held.to(parameter.device)
    mesh, placements = parameter.device_mesh, parameter.placements
    return DTensor.from_local(held, mesh, placements, shape=parameter.shape, stride=parameter.stride())


def cut_again(module: nn.Module) -> None:
    """Let go of weights that are whole since an evaluation, so that the module's parameters are the pieces."""
    for part in module.modules():
        reshard: Any = getattr(part, "reshard", None)
        if reshard is not None:
            reshard()
