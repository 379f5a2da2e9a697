"""Attention on CPUs over pieces of a batch that stay in the cache, and dropout from 16 random bits an element.

PyTorch draws a 64-bit number for each element and throws most of it away, and computes attention with dropout in
several passes over all weights, in float32 whatever its inputs are. Here the bits come from torch's own generator, too,
so that seeds, checkpoints and recomputed activations hold as ever; the probability is right to 1/65536. Weights and one
byte for each are kept for the backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

PIECE = 1 << 18
"""Attention weights that are worked on at a time: 1 MiB of float32."""


@dataclass(frozen=True)
class Piece:
    """Texts that are attended together, each with so many queries and keys.

    `hidden`, where anything is, is True where a query may not see a key: (texts, 1 or heads, 1 or queries, keys).
    """

    texts: int
    queries: int
    keys: int
    hidden: Tensor | None = None


def draw_kept(kept: Tensor, probability: float) -> Tensor:
    """Fill a contiguous bool tensor: each element is False with `probability`."""
    bits = torch.empty(math.ceil(kept.numel() / 4), dtype=torch.int64).random_(-(2**63), None)
    highest = max(round((1 - probability) * 2**16) - 1, 0) - 2**15
    return torch.le(bits.view(torch.int16)[: kept.numel()].view(kept.shape), highest, out=kept)


def attend_pieces(
    query: Tensor, key: Tensor, value: Tensor, heads: int, pieces: Sequence[Piece], dropout: float, scaling: float
) -> Tensor:
    """softmax(scaling query key', where it may be seen), with dropout, times value; computed in float32 at least.

    Args:
        query: (texts * heads * queries, width) of all pieces, one behind another; like it key and value.
        dropout: more than 0 and less than 1.

    Returns:
        (texts * heads * queries, width), of the type of `query`.
    """
    return _Attention.apply(query, key, value, heads, pieces, dropout, scaling)  # type: ignore[no-any-return, no-untyped-call]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        heads: int,
        pieces: Sequence[Piece],
        probability: float,
        scaling: float,
    ) -> Tensor:
        ctx.heads, ctx.pieces, ctx.rescale, ctx.scaling = heads, pieces, 1 / (1 - probability), scaling
        ctx.given, exact = query.dtype, torch.promote_types(query.dtype, torch.float32)
        query, key, value = query.to(exact) * scaling, key.to(exact), value.to(exact)
        size = sum(piece.texts * heads * piece.queries * piece.keys for piece in pieces)
        weights, kept = query.new_empty(size), torch.empty(size, dtype=torch.bool)
        output = query.new_empty(len(query), value.shape[1])
        sides = (query, output), (key, value), (weights, kept)
        with torch.autocast("cpu", enabled=False):
            for piece, asking, found, keys, values, here, drawn in _views(pieces, heads, *sides):
                scores = torch.bmm(asking, keys.transpose(1, 2))
                if piece.hidden is not None:
                    scores.unflatten(0, (-1, heads)).masked_fill_(piece.hidden, torch.finfo(exact).min)
                torch.softmax(scores, -1, out=here)
                noise = draw_kept(drawn, probability).to(exact)
                torch.bmm(noise.mul_(here), values, out=found)
        ctx.save_for_backward(query, key, value, weights, kept)
        return output.mul_(ctx.rescale).to(ctx.given)

    @staticmethod
    @once_differentiable  # type: ignore[no-untyped-call, untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weights, kept = ctx.saved_tensors
        gradient = gradient.to(query.dtype).contiguous() * ctx.rescale
        for_query, for_key, for_value = (torch.empty_like(part) for part in (query, key, value))
        sides = (query, gradient, for_query), (key, value, for_key, for_value), (weights, kept)
        for _, asking, rising, to_asking, keys, values, to_keys, to_values, here, drawn in _views(
            ctx.pieces, ctx.heads, *sides
        ):
            noise = drawn.to(here.dtype)
            dropped = here * noise
            torch.bmm(dropped.transpose(1, 2), rising, out=to_values)
            for_dropped = torch.bmm(rising, values.transpose(1, 2), out=dropped)
            for_scores = torch._softmax_backward_data(for_dropped.mul_(noise), here, -1, here.dtype)
            torch.bmm(for_scores, keys, out=to_asking)
            torch.bmm(for_scores.transpose(1, 2), asking, out=to_keys)
        for_query.mul_(ctx.scaling)
        return *(part.to(ctx.given) for part in (for_query, for_key, for_value)), None, None, None, None


def _views(
    pieces: Sequence[Piece], heads: int, asking: Sequence[Tensor], seen: Sequence[Tensor], weights: Sequence[Tensor]
) -> Iterator[tuple[Any, ...]]:
    """Of each piece: itself, (matrices, queries, width) of `asking`, (matrices, keys, width) of `seen`, and weights."""
    query = key = weight = 0
    for piece in pieces:
        matrices = piece.texts * heads
        shapes = (matrices, piece.queries, -1), (matrices, piece.keys, -1), (matrices, piece.queries, piece.keys)
        queries, keys = slice(query, query + matrices * piece.queries), slice(key, key + matrices * piece.keys)
        weighed = slice(weight, weight + math.prod(shapes[2]))
        yield (
            piece,
            *(states[queries].view(shapes[0]) for states in asking),
            *(states[keys].view(shapes[1]) for states in seen),
            *(states[weighed].view(shapes[2]) for states in weights),
        )
        query, key, weight = queries.stop, keys.stop, weighed.stop
