"""Attention within each of the texts that are packed into one row.

On a CPU with dropout, texts of about one length are attended together, padded to the longest of them: a call for each
length costs more than that padding. On a GPU one kernel takes them all. Elsewhere there is a call for each length.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from registry.models.cpu_attention import PIECE, Piece, attend_pieces

PACKED_SDPA = "packed_sdpa"
"""Name of `attend` among transformers' attention functions."""

WASTE = 1 << 12
"""Attention weights a head that are spent on padding before another piece, whose calls cost as much, is begun."""


@dataclass(frozen=True)
class Packed:
    """How one batch is packed: what `pack_inputs` added to it, and its (batch, length)."""

    positions: Tensor
    boundaries: Tensor
    shape: tuple[int, int]
    layouts: dict[tuple[int, int | None], Layout] = field(default_factory=dict)
    """By heads and window of attention."""

    def layout(self, heads: int, window: int | None) -> Layout:
        """That of this batch, made once for all layers that are alike."""
        if (heads, window) not in self.layouts:
            self.layouts[heads, window] = build_layout(self.boundaries, heads, window)
        return self.layouts[heads, window]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    packed: Packed | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it; states are (1, heads, tokens, width), the result (1, tokens, heads, width).

    An ordinary batch, which is not packed, is attended as ever.

    Args:
        sliding_window: tokens see those that are less far away.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    sdpa: Any = ALL_ATTENTION_FUNCTIONS["sdpa"]
    if packed is None:
        return sdpa(module, query, key, value, attention_mask, dropout, scaling, **others)  # type: ignore[no-any-return]
    window = sliding_window if sliding_window and packed.shape[1] > sliding_window else None
    if query.device.type == "cuda" and window is None:
        return attend_ragged(query, key, value, packed.boundaries, packed.shape[1], dropout, scaling), None
    if query.device.type == "cpu" and 0 < dropout < 1:
        layout = packed.layout(query.shape[1], window)
        return attend_together(query, key, value, layout, dropout, scaling or query.shape[-1] ** -0.5), None
    attended = []
    runs = [(length, len(list(run))) for length, run in itertools.groupby(packed.boundaries.diff().tolist())]
    tokens = [length * texts for length, texts in runs]
    split = [states[0].split(tokens, dim=1) for states in (query, key, value)]
    for (length, texts), *parts in zip(runs, *split, strict=True):
        batch = [part.unflatten(1, (texts, length)).transpose(0, 1) for part in parts]
        mask = band(length, window, query.device)[None, None] if window and length > window else None
        attended.append(sdpa(module, *batch, mask, dropout, scaling, is_causal=False)[0].flatten(0, 1))
    return torch.cat(attended).unsqueeze(0), None


def attend_ragged(
    query: Tensor, key: Tensor, value: Tensor, boundaries: Tensor, longest: int, dropout: float, scaling: float | None
) -> Tensor:
    """All texts in one kernel, which draws the dropout as well; nothing waits for the device."""
    query, key, value = (
        torch.nested.nested_tensor_from_jagged(
            states[0].transpose(0, 1).contiguous(), boundaries, min_seqlen=1, max_seqlen=longest
        ).transpose(1, 2)
        for states in (query, key, value)
    )
    attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=scaling)
    return attended.transpose(1, 2).values().unsqueeze(0)


def band(length: int, width: int, device: torch.device) -> Tensor:
    """(length, length): which tokens are less than `width` apart."""
    places = torch.arange(length, device=device)
    return (places[:, None] - places).abs() < width


@dataclass(frozen=True)
class Layout:
    """Where packed texts stand while they are attended: texts of about one length together, padded to its longest.

    The states of a token and a head are one row: rows (tokens * heads) are spread over the slots of the pieces
    (texts * heads * length, one piece behind another), and collected from them.
    """

    pieces: list[Piece]
    rows: Tensor
    """(slots,) the row of each slot; any where the slot is padding."""
    padding: Tensor
    """Which slots are."""
    slots: Tensor
    """(tokens * heads,) the slot of each row."""


def build_layout(boundaries: Tensor, heads: int, window: int | None) -> Layout:
    """The longest texts first; `window` as for `attend`."""
    lengths, order = boundaries.diff().sort(descending=True, stable=True)
    pieces, rows = [], []
    for texts in together(lengths.tolist(), heads):
        longest = int(lengths[texts.start])
        places = torch.arange(longest)
        real = places < lengths[texts, None]
        tokens = boundaries[order[texts], None] + places
        of_heads = tokens[:, None] * heads + torch.arange(heads)[:, None]
        rows.append(of_heads.masked_fill_(~real[:, None], -1).flatten())
        hidden = None if real.all() else ~real[:, None, None]
        if window and longest > window:
            far = ~band(longest, window, real.device)[None, None]
            hidden = far if hidden is None else hidden | far
        pieces.append(Piece(len(real), longest, longest, hidden))
    of_slots = torch.cat(rows)
    slots = torch.empty(int(boundaries[-1]) * heads, dtype=torch.int64)
    filled = (of_slots >= 0).nonzero().squeeze(1)
    slots[of_slots[filled]] = filled
    return Layout(pieces, of_slots.clamp(min=0), (of_slots < 0).nonzero().squeeze(1), slots)


def together(lengths: list[int], heads: int) -> list[slice]:
    """Which texts, the longest first, make a piece: little padding, and weights that stay in the cache."""
    pieces, start, wasted = [], 0, 0
    for place, length in enumerate(lengths):
        longest = lengths[start]
        wasted += longest**2 - length**2
        if wasted > WASTE or (place > start and (place + 1 - start) * heads * longest**2 > PIECE):
            pieces.append(slice(start, place))
            start, wasted = place, 0
    return [*pieces, slice(start, len(lengths))]


def attend_together(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, dropout: float, scaling: float
) -> Tensor:
    """Texts of about one length in one call, on a CPU."""
    rows = (states[0].transpose(0, 1).flatten(0, 1) for states in (query, key, value))
    queries, keys, values = (_Spread.apply(states, layout) for states in rows)  # type: ignore[no-untyped-call]
    heads = query.shape[1]
    attended = attend_pieces(queries, keys, values, heads, layout.pieces, dropout, scaling)
    return _Collect.apply(attended, layout).view(1, -1, heads, attended.shape[1])  # type: ignore[no-any-return, no-untyped-call]


def _spread(rows: Tensor, layout: Layout) -> Tensor:
    return rows.index_select(0, layout.rows).index_fill_(0, layout.padding, 0)


class _Spread(torch.autograd.Function):
    """Rows in their slots, zeros in the others; a row has one slot, so that its gradient is nobody's sum."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        return _spread(rows, layout)

    @staticmethod
    @once_differentiable  # type: ignore[no-untyped-call, untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(0, ctx.layout.slots), None


class _Collect(torch.autograd.Function):
    """The way back."""

    @staticmethod
    def forward(ctx: Any, spread: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        return spread.index_select(0, layout.slots)

    @staticmethod
    @once_differentiable  # type: ignore[no-untyped-call, untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _spread(gradient, ctx.layout), None
