"""The last layer for the first token of each text alone, where the head reads no other: the same logits for less.

A sixth of MiniLM's work, a twelfth of BERT-base's: of the last layer only keys and values are needed of all tokens.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import Tensor, nn

from registry.models.layers import find_backbone, layer_stacks

TOLERANCE = 1e-4


def spare_last_layer(module: nn.Module) -> bool:
    """Let `module`, in place, compute its last layer for the first token alone; whether it could.

    It could where the layer is built as BERT's (RoBERTa, XLM-R, ELECTRA, ERNIE, MiniLM, …) or DistilBERT's, its
    attention is SDPA, and a trial shows that the logits depend on no other token's last state. Names of weights stay.
    """
    _, backbone = find_backbone(module)
    stacks = list(layer_stacks(backbone).values())
    layer = stacks[-1][1] if stacks else None
    config: Any = getattr(backbone, "config", None)
    if layer is None or getattr(config, "_attn_implementation", "") != "sdpa":
        return False
    parts = {name for name, _ in layer.named_modules()}
    compute = next((compute for kind, compute in KINDS.items() if parts.issuperset(kind)), None)
    if compute is None or getattr(layer, "is_decoder", False):
        return False
    device = next(module.parameters()).device
    inputs = {name: values.to(device) for name, values in _trial_inputs(config).items()}
    training = {part: part.training for part in module.modules()}
    try:
        module.eval()
        whole = _state_that_is_read(module, layer, inputs)
        if whole is None:
            return False
        layer.forward = types.MethodType(compute, layer)  # type: ignore[method-assign]
        alone = _last_states(module, layer, inputs)
        exact = alone.shape[1] == 1 and torch.allclose(alone, whole, atol=TOLERANCE * float(whole.abs().max()), rtol=0)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError):
        exact = False  # an architecture that takes other arguments, or other masks
    finally:
        for part, mode in training.items():
            part.training = mode
    if not exact:
        vars(layer).pop("forward", None)
    return exact


def spared_parameters(module: nn.Module) -> frozenset[str]:
    """Names of the weights of `module` that `spare_last_layer` has used once for each text."""
    prefix, backbone = find_backbone(module)
    path, (_, layer) = list(layer_stacks(backbone).items())[-1]
    return frozenset(f"{prefix}{path}.{name}" for name, _ in layer.named_parameters() if not name.startswith(OF_ALL))


def _of_bert(layer: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, *_: Any, **given: Any) -> Tensor:
    """What BERT's layer computes, (batch, 1, width) of it: that of the first token, which attends to all."""
    first, attention = hidden_states[:, :1], layer.attention.self
    maps = attention.query, attention.key, attention.value
    attended = _attend(attention, maps, hidden_states, attention_mask)
    return layer.feed_forward_chunk(layer.attention.output(attended, first))  # type: ignore[no-any-return]


def _of_distilbert(layer: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, **given: Any) -> Tensor:
    """The same of DistilBERT's layer."""
    first, attention = hidden_states[:, :1], layer.attention
    maps = attention.q_lin, attention.k_lin, attention.v_lin
    attended = layer.sa_layer_norm(attention.out_lin(_attend(attention, maps, hidden_states, attention_mask)) + first)
    return layer.output_layer_norm(layer.ffn(attended) + attended)  # type: ignore[no-any-return]


def _attend(attention: Any, maps: tuple[nn.Module, ...], states: Tensor, mask: Tensor | None) -> Tensor:
    """(batch, 1, width): what the first token finds; `maps` make queries, keys and values."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    seen = states[:, :1], states, states
    width = attention.attention_head_size
    heads = (part(given).unflatten(-1, (-1, width)).transpose(1, 2) for part, given in zip(maps, seen, strict=True))
    attended, _ = ALL_ATTENTION_FUNCTIONS[attention.config._attn_implementation](
        attention,
        *heads,
        None if mask is None else mask[:, :, :1],
        dropout=attention.dropout.p if attention.training else 0.0,
        scaling=attention.scaling,
    )
    return attended.flatten(2)


KINDS = {
    ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"): _of_bert,
    ("attention.q_lin", "attention.k_lin", "attention.v_lin", "sa_layer_norm", "ffn"): _of_distilbert,
}
"""Parts that a layer has -> what it computes for the first token. Whether it really does is tried."""

OF_ALL = ("attention.self.key.", "attention.self.value.", "attention.k_lin.", "attention.v_lin.")


def _trial_inputs(config: Any) -> dict[str, Tensor]:
    """A long text beside a short one."""
    pad = getattr(config, "pad_token_id", None) or 0
    ids = torch.arange(18).view(2, 9).remainder(config.vocab_size - 1)
    ids[ids == pad] = config.vocab_size - 1
    mask = torch.ones_like(ids)
    ids[0, 4:], mask[0, 4:] = pad, 0
    return {"input_ids": ids, "attention_mask": mask}


def _state_that_is_read(module: nn.Module, layer: nn.Module, inputs: dict[str, Tensor]) -> Tensor | None:
    """(batch, 1, width) states of the first tokens behind the layer, if the logits depend on them and on no others."""
    seen: list[Tensor] = []

    def watched(part: nn.Module, args: Any, output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1]

    handle = layer.register_forward_hook(watched)
    try:
        with torch.enable_grad():
            logits = module(**inputs)["logits"]
            scores = logits.float() * torch.linspace(0.5, 1, logits.numel(), device=logits.device).view_as(logits)
            (gradient,) = torch.autograd.grad(scores.sum(), seen)  # fails where the layer is used more than once
    finally:
        handle.remove()
    read = gradient.abs().sum(dim=(0, 2))
    return seen[0][:, :1].detach() if read[0] > 0 and not read[1:].any() else None


@torch.no_grad()
def _last_states(module: nn.Module, layer: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda part, args, output: seen.append(output))
    try:
        module(**inputs)
    finally:
        handle.remove()
    return seen[0]
