"""Dropout on CPUs, from 16 random bits an element, where PyTorch draws a 64-bit number for each and throws it away.

The bits come from torch's own generator, so that seeds, checkpoints and recomputed activations hold as ever; the
probability is right to 1/65536. Attention keeps its weights and one byte for each, and works on pieces that
stay in the cache. Elsewhere (other devices, other arithmetic, compiled modules) torch's own kernels run.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

PIECE = 1 << 18
"""Attention weights that are worked on at a time: 1 MiB of float32."""


def replace_dropout(module: nn.Module) -> None:
    """Let the dropout layers of `module`, in place, and the SDPA attention of transformers draw cheaply on CPUs."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    for parent in list(module.modules()):
        for name, part in parent.named_children():
            if type(part) is nn.Dropout:
                setattr(parent, name, Dropout(part.p).train(part.training))
    ALL_ATTENTION_FUNCTIONS.register("sdpa", attend)


def dropouts(module: nn.Module) -> list[float]:
    """Every probability of a dropout layer, adapters' apart, in order."""
    parts = [part for name, part in module.named_modules() if ".lora_" not in name]
    layers = {part.p for part in parts if isinstance(part, nn.Dropout)}
    values = (value for part in parts for name, value in vars(part).items() if "dropout" in name)  # BART's, OPT's
    return sorted(layers | {value for value in values if isinstance(value, float) and value})


def drops(module: nn.Module) -> bool:
    """Whether two forward passes of training differ: some part that is in training mode drops values."""
    modes = {part: part.training for part in module.modules()}
    module.train()
    try:
        return any(
            isinstance(value, float) and value > 0
            for part in module.modules()
            if part.training
            for name, value in vars(part).items()
            if "dropout" in name or (name == "p" and isinstance(part, nn.Dropout))
        )
    finally:
        for part, mode in modes.items():
            part.training = mode


class Dropout(nn.Dropout):
    """Dropout of any shape."""

    def forward(self, input: Tensor) -> Tensor:
        """The input, in training with elements of probability `p` at zero and the others scaled by 1/(1 - p)."""
        if not self.training or not 0 < self.p < 1 or input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        return _Dropout.apply(input, self.p)  # type: ignore[no-any-return, no-untyped-call]


def draw_kept(kept: Tensor, probability: float) -> Tensor:
    """Fill a contiguous bool tensor: each element is False with `probability`."""
    bits = torch.empty(math.ceil(kept.numel() / 4), dtype=torch.int64).random_(-(2**63), None)
    highest = max(round((1 - probability) * 2**16) - 1, 0) - 2**15
    return torch.le(bits.view(torch.int16)[: kept.numel()].view(kept.shape), highest, out=kept)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, probability: float) -> Tensor:
        kept = draw_kept(torch.empty(input.shape, dtype=torch.bool), probability)
        noise = kept.to(input.dtype).mul_(1 / (1 - probability))
        ctx.save_for_backward(noise)
        return input * noise

    @staticmethod
    @once_differentiable  # type: ignore[no-untyped-call, untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (noise,) = ctx.saved_tensors
        return gradient * noise, None


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it; states are (batch, heads, length, width), the result (batch, length, …).

    Without dropout, and wherever more is asked for than a mask of what may be seen, PyTorch's SDPA answers.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    plain = (
        0 < dropout < 1
        and query.device.type == "cpu"
        and query.dtype == key.dtype == value.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and query.shape[:2] == key.shape[:2]
        and (not causal if attention_mask is None else attention_mask.dtype == torch.bool)
        and not any(value is not None for value in (others.get("position_bias"), others.get("cache")))
    )
    if not plain:
        return sdpa_attention_forward(  # type: ignore[return-value]
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **others
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    attended = _Attention.apply(query * scale, key, value, attention_mask, dropout)  # type: ignore[no-untyped-call]
    return attended.transpose(1, 2).contiguous(), None


class _Attention(torch.autograd.Function):
    """softmax(query key', where the mask allows), with dropout, times value; a few texts at a time."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, probability: float) -> Tensor:
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        batch, heads, length, _ = query.shape
        shape = (batch, heads, length, key.shape[2])
        weights, kept = query.new_empty(shape), torch.empty(shape, dtype=torch.bool)
        output = query.new_empty((*shape[:3], value.shape[3]))
        mask = None if mask is None else mask.expand(batch, -1, length, -1)
        for texts in _pieces(shape):
            scores = torch.bmm(_flat(query, texts), _flat(key, texts).transpose(1, 2))
            if mask is not None and not mask[texts].all():
                scores.unflatten(0, (-1, heads)).masked_fill_(~mask[texts], torch.finfo(scores.dtype).min)
            here = torch.softmax(scores, -1, out=_flat(weights, texts))
            noise = draw_kept(_flat(kept, texts), probability).to(scores.dtype)
            torch.bmm(noise.mul_(here), _flat(value, texts), out=_flat(output, texts))
        ctx.save_for_backward(query, key, value, weights, kept)
        ctx.rescale = 1 / (1 - probability)
        return output.mul_(ctx.rescale)

    @staticmethod
    @once_differentiable  # type: ignore[no-untyped-call, untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weights, kept = ctx.saved_tensors
        gradient = gradient.contiguous() * ctx.rescale
        for_query, for_key, for_value = (torch.empty_like(part) for part in (query, key, value))
        for texts in _pieces(weights.shape):
            here, rising = _flat(weights, texts), _flat(gradient, texts)
            noise = _flat(kept, texts).to(here.dtype)
            dropped = here * noise
            torch.bmm(dropped.transpose(1, 2), rising, out=_flat(for_value, texts))
            for_dropped = torch.bmm(rising, _flat(value, texts).transpose(1, 2), out=dropped)
            for_scores = torch._softmax_backward_data(for_dropped.mul_(noise), here, -1, here.dtype)
            torch.bmm(for_scores, _flat(key, texts), out=_flat(for_query, texts))
            torch.bmm(for_scores.transpose(1, 2), _flat(query, texts), out=_flat(for_key, texts))
        return for_query, for_key, for_value, None, None


def _pieces(shape: tuple[int, ...]) -> list[slice]:
    """Slices of the batch whose attention weights fit a piece."""
    batch = shape[0]
    step = max(1, PIECE // max(1, math.prod(shape[1:])))
    return [slice(start, start + step) for start in range(0, batch, step)]


def _flat(states: Tensor, texts: slice) -> Tensor:
    """(batch, heads, …) of some texts as (texts * heads, …), without a copy."""
    return states[texts].flatten(0, 1)
