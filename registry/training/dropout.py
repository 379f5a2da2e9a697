"""Dropout on CPUs as `registry.models.cpu_attention` draws it, in the layers and in the attention of a module.

Elsewhere (other devices, compiled modules) torch's own kernels run.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from registry.models.cpu_attention import PIECE, Piece, attend_pieces, draw_kept


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
        and query.dtype == key.dtype == value.dtype
        and not torch.compiler.is_compiling()
        and query.shape[:2] == key.shape[:2]
        and (not causal if attention_mask is None else attention_mask.dtype == torch.bool)
        and not any(value is not None for value in (others.get("position_bias"), others.get("cache")))
    )
    if not plain:
        return sdpa_attention_forward(  # type: ignore[return-value]
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **others
        )
    batch, heads, length, width = query.shape
    pieces = _pieces(batch, heads, length, key.shape[2], attention_mask)
    queries, keys, values = (part.reshape(-1, part.shape[-1]) for part in (query, key, value))
    scaling = width**-0.5 if scaling is None else scaling
    attended = attend_pieces(queries, keys, values, heads, pieces, dropout, scaling)
    return attended.view(batch, heads, length, -1).transpose(1, 2).contiguous(), None


def _pieces(batch: int, heads: int, queries: int, keys: int, mask: Tensor | None) -> list[Piece]:
    """The batch cut where attention weights would leave the cache."""
    step = max(1, PIECE // max(1, heads * queries * keys))
    slices = [slice(start, min(start + step, batch)) for start in range(0, batch, step)]
    if mask is None:
        return [Piece(texts.stop - texts.start, queries, keys) for texts in slices]
    mask = mask.expand(batch, -1, queries, -1)
    hidden = [None if mask[texts].all() else ~mask[texts] for texts in slices]
    return [Piece(texts.stop - texts.start, queries, keys, part) for texts, part in zip(slices, hidden, strict=True)]
