"""Depth of parameters, found from a module's structure: for layer-wise decay, freezing, adapters.

The stack of layers of a transformer is an outermost `nn.ModuleList` of its backbone (one for the
encoder, one more for the decoder). Embeddings come before it and have depth 0, layers count from 1,
the head comes last.
"""

from __future__ import annotations

import types
from collections.abc import Mapping

from torch import nn


def layer_map(module: nn.Module) -> dict[str, int]:
    """Depth of every parameter by name: 0 for embeddings, 1 to n for layers, n + 1 for the head.

    Norms after a stack and what stands beside it (DeBERTa's convolution) belong to its last layer, what
    stands between two stacks (CANINE's) to the layer before it; poolers and whatever stands outside the
    backbone are head, but for weights that they share with embeddings. Layers that share weights (ALBERT)
    count once.
    """
    _, backbone = find_backbone(module)
    layers = {path: depth for path, (depth, _) in layer_stacks(backbone).items()}
    head = max(layers.values(), default=0) + 1
    depths: dict[int, int] = {}
    inside = [
        next((depth for path, depth in layers.items() if name.startswith(path + ".")), None)
        for name, _ in backbone.named_parameters()
    ]
    end = max((place for place, depth in enumerate(inside) if depth), default=0)
    latest = 0
    for place, (name, parameter) in enumerate(backbone.named_parameters()):
        depth = inside[place]
        latest = max(latest, depth or 0)
        behind = latest if place < end else head
        depths[id(parameter)] = _outside(name, backbone, layers, latest, behind) if depth is None else depth
    return {name: depths.get(id(parameter), head) for name, parameter in module.named_parameters()}


def _outside(name: str, backbone: nn.Module, layers: Mapping[str, int], latest: int, behind: int) -> int:
    """Depth of a parameter of the backbone that is in none of its layers.

    Args:
        latest: depth of the last layer before it; 0 where none was.
        behind: depth of what stands behind that layer and beside none.
    """
    path = name.rpartition(".")[0]
    owner = backbone.get_submodule(path)
    if isinstance(owner, nn.Embedding) or "embed" in path or path.endswith("_emb") or not layers:
        return 0
    if all(len(getattr(p, "ds_shape", p.shape)) == 1 for p in owner.parameters(recurse=False)):
        parent = path.rpartition(".")[0]
        return max((depth for layer, depth in layers.items() if layer.startswith(parent)), default=latest)
    beside = [depth for layer, depth in layers.items() if layer.startswith(path.partition(".")[0] + ".")]
    return max(beside, default=behind) if latest else 0


def find_backbone(module: nn.Module) -> tuple[str, nn.Module]:
    """The pretrained part of `module` without its heads, and its name with a closing dot ("bert.")."""
    from transformers import PreTrainedModel

    for name, part in module.named_modules():
        if isinstance(part, PreTrainedModel) and part.base_model is part:
            return f"{name}." if name else "", part
    return "", module


def layer_stacks(backbone: nn.Module) -> dict[str, tuple[int, nn.Module]]:
    """Every layer by its path in the backbone, with its depth; first the encoder's, then the decoder's.

    Lists of one length under one parent (XLM's attentions and feed-forwards) are parts of the same layers.
    """
    lists = [(name, part) for name, part in backbone.named_modules() if isinstance(part, nn.ModuleList) and len(part)]
    outermost = [(name, part) for name, part in lists if not any(name.startswith(other + ".") for other, _ in lists)]
    stacks: dict[str, tuple[int, nn.Module]] = {}
    starts: dict[tuple[str, int], int] = {}
    depth = 0
    for name, layers in outermost:
        key = (name.rpartition(".")[0], len(layers))
        if key not in starts:
            starts[key] = depth
            depth += len(layers)
        stacks |= {f"{name}.{i}": (starts[key] + i + 1, layer) for i, layer in enumerate(layers)}
    return stacks


def lora_targets(module: nn.Module) -> tuple[str, ...]:
    """Paths inside a layer ("attention.self.query") of every linear map in the layers of `module`.

    Raises:
        ValueError: there is none that an adapter can be attached to.
    """
    _, backbone = find_backbone(module)
    found = {
        path for _, layer in layer_stacks(backbone).values() for path, part in layer.named_modules() if is_linear(part)
    }
    if not found:
        raise ValueError("this model has no linear maps in its layers that LoRA could be attached to")
    return tuple(sorted(found))


def freeze(module: nn.Module, depths: Mapping[str, int], what: str) -> None:
    """Stop training of the lowest part of `module`, and keep that part in eval mode (no dropout in it).

    Args:
        depths: `spec.layer_map(module)`.
        what: "encoder" (all but the head), "embeddings", or a number of lowest layers (embeddings included).

    Raises:
        ValueError: `what` is none of these, the model has fewer layers, or nothing below its head, or adapters
            in the frozen part alone.
    """
    head = max(depths.values(), default=0)
    layers = max(head - 1, 0)
    if what not in ("encoder", "embeddings") and not what.isdigit():
        raise ValueError(f"--freeze {what!r}: expected encoder, embeddings, or a number of layers")
    deepest = layers if what == "encoder" else 0 if what == "embeddings" else int(what)
    if deepest > layers:
        raise ValueError(f"--freeze {what}: the model has {layers} layers")
    deepest = min(deepest, head - 1)
    adapters = [depth for name, depth in depths.items() if ".lora_" in name]
    if adapters and max(adapters) <= deepest:
        raise ValueError(f"--freeze {what} leaves none of the adapters of --lora-rank to train; leave one of them out")
    frozen = [parameter for name, parameter in module.named_parameters() if depths[name] <= deepest]
    if not frozen:
        raise ValueError(f"--freeze {what}: this model has nothing below its head that could be frozen")
    for parameter in frozen:
        parameter.requires_grad_(False)
    _keep_in_eval(module)


def check_redrawn(module: nn.Module, depths: Mapping[str, int], redrawn: int, what: str) -> None:
    """ValueError where layers that were drawn anew (the top `redrawn`) are frozen as they are: random."""
    last = max(depths.values(), default=0) - 1
    fresh = [p for name, p in module.named_parameters() if last - redrawn < depths[name] <= last]
    if not all(parameter.requires_grad for parameter in fresh):
        raise ValueError(
            f"--freeze {what}: layers that --model-option reinit_layers={redrawn} draws anew would stay random; leave "
            "one of them out"
        )


def _keep_in_eval(module: nn.Module) -> None:
    """Put the outermost fully frozen parts into eval mode for good: `train()` leaves them there."""
    for part in module.children():
        parameters = list(part.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            part.train = types.MethodType(_stay_in_eval, part)  # type: ignore[method-assign]
            part.train()
        else:
            _keep_in_eval(part)


def _stay_in_eval(part: nn.Module, mode: bool = True) -> nn.Module:
    return type(part).train(part, False)


def is_linear(part: nn.Module) -> bool:
    """Whether it is a linear map of each token, as SqueezeBERT's convolutions of width 1 are."""
    from transformers.pytorch_utils import Conv1D

    pointwise = isinstance(part, nn.Conv1d) and part.kernel_size == (1,) and part.groups == 1
    return pointwise or isinstance(part, (nn.Linear, Conv1D))
