"""Bits are drawn with their probability, and pieces of any shape are attended as each by itself."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from registry.models.cpu_attention import Piece, attend_pieces, draw_kept


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_elements_are_dropped_with_their_probability(probability: float) -> None:
    torch.manual_seed(0)
    dropped = 1 - draw_kept(torch.empty(1_000_003, dtype=torch.bool), probability).float().mean().item()
    assert dropped == pytest.approx(probability, abs=0.002)


def test_neighbours_are_independent() -> None:
    torch.manual_seed(0)
    kept = draw_kept(torch.empty(1000, 1000, dtype=torch.bool), 0.5).float() - 0.5
    for distance in (1, 2, 3, 4, 1000):
        flat = kept.flatten()
        assert abs((flat[:-distance] * flat[distance:]).mean().item()) < 0.001


def test_pieces_have_lengths_of_their_own() -> None:
    """One query over seven keys, and five over three that are hidden in part: as each by itself."""
    torch.manual_seed(0)
    shapes = [(2, 1, 7), (3, 5, 3)]
    hidden = torch.rand(3, 1, 5, 3) < 0.4
    hidden[..., 0] = False
    heads, parts = 2, []
    for texts, queries, keys in shapes:
        sizes = (texts, heads, queries, 4), (texts, heads, keys, 4), (texts, heads, keys, 4)
        parts.append([torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes])
    pieces = [Piece(2, 1, 7), Piece(3, 5, 3, hidden)]
    flat = [torch.cat([part.flatten(0, 2) for part in side]) for side in zip(*parts, strict=True)]
    found = attend_pieces(*flat, heads, pieces, 1e-9, 0.7)
    expected = torch.cat(
        [
            F.scaled_dot_product_attention(*states, attn_mask=mask, scale=0.7).flatten(0, 2)
            for states, mask in zip(parts, (None, ~hidden), strict=True)
        ]
    )
    torch.testing.assert_close(found, expected)
    leaves, rising = [part for side in parts for part in side], torch.randn_like(found)
    torch.testing.assert_close(
        torch.autograd.grad(found, leaves, rising), torch.autograd.grad(expected, leaves, rising)
    )
