"""Attention stays within each of the texts in one row, and every way to compute it gives the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from registry.models import packed_attention
from registry.models.packed_attention import Packed, attend, attend_ragged, build_layout

LENGTHS = torch.tensor([3, 9, 1, 9, 4, 12, 8, 3])
PIECES = [(1 << 18, 1 << 12, 1), (1, 1 << 12, 8), (1 << 18, 0, 6), (700, 30, 3)]
"""(weights in a piece, weights for padding, how many pieces that makes of two heads)."""


def begins(lengths: Tensor) -> Tensor:
    return F.pad(lengths.cumsum(0), (1, 0)).int()


@pytest.mark.parametrize(("piece", "waste", "pieces"), PIECES)
@pytest.mark.parametrize("dropout", [0.0, 1e-9])
@pytest.mark.parametrize("window", [None, 3])
def test_texts_in_one_row_attend_as_under_a_mask_of_all_pairs(
    window: int | None, dropout: float, piece: int, waste: int, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_attention, "PIECE", piece)
    monkeypatch.setattr(packed_attention, "WASTE", waste)
    torch.manual_seed(0)
    text = torch.arange(len(LENGTHS)).repeat_interleave(LENGTHS)
    places = torch.arange(len(text))
    seen = (text[:, None] == text) & ((places[:, None] - places).abs() < (window or len(text)))
    states = [torch.randn(1, 2, len(text), 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    expected = F.scaled_dot_product_attention(*states, attn_mask=seen, scale=0.7).transpose(1, 2)
    packed = packed_texts(begins(LENGTHS))
    found, _ = attend(nn.Identity(), *states, None, dropout, 0.7, packed, window)
    torch.testing.assert_close(found, expected)
    rising = torch.randn_like(found)
    torch.testing.assert_close(
        torch.autograd.grad(found, states, rising), torch.autograd.grad(expected, states, rising)
    )
    assert [len(layout.pieces) for layout in packed.layouts.values()] == ([pieces] if dropout else [])


@pytest.mark.parametrize(("piece", "waste", "pieces"), PIECES)
def test_every_row_has_one_slot_and_the_others_are_padding(
    piece: int, waste: int, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_attention, "PIECE", piece)
    monkeypatch.setattr(packed_attention, "WASTE", waste)
    layout = build_layout(begins(LENGTHS), 2, None)
    assert torch.equal(layout.rows[layout.slots], torch.arange(2 * int(LENGTHS.sum())))  # there and back
    every = torch.cat([layout.slots, layout.padding]).sort().values
    assert torch.equal(every, torch.arange(sum(2 * part.texts * part.keys for part in layout.pieces)))
    assert all(part.texts == 1 or 2 * part.texts * part.keys**2 <= piece for part in layout.pieces)


def packed_texts(boundaries: Tensor) -> Packed:
    shape = len(boundaries) - 1, int(boundaries.diff().max())
    return Packed(torch.empty(0, dtype=torch.int64), boundaries, shape)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_one_kernel_for_all_texts_attends_as_one_call_for_each_length(device: str) -> None:
    boundaries = torch.tensor([0, 3, 8, 13, 20], dtype=torch.int32, device=device)
    torch.manual_seed(0)
    states = [torch.randn(1, 2, 20, 8, device=device, requires_grad=True) for _ in range(3)]
    layer = nn.Identity()
    one = attend_ragged(*states, boundaries, 7, 0.0, 0.3)
    cpu = [part.detach().cpu().requires_grad_() for part in states]
    each, _ = attend(layer, *cpu, None, 0.0, 0.3, packed_texts(boundaries.cpu()))
    torch.testing.assert_close(one.cpu(), each, atol=1e-5, rtol=1e-5)
    for part, gradients in ((one, states), (each, cpu)):
        (part * torch.linspace(-1, 1, part.numel(), device=part.device).view_as(part)).sum().backward()
        assert all(state.grad is not None for state in gradients)
    for state, expected in zip(states, cpu, strict=True):
        torch.testing.assert_close(state.grad.cpu(), expected.grad, atol=1e-5, rtol=1e-5)


def test_dropout_of_attention_is_drawn_for_every_text() -> None:
    """Two equal texts in one row get different masks, and none where there is no dropout."""
    states = torch.randn(1, 2, 5, 8).repeat(1, 1, 2, 1)
    boundaries = torch.tensor([0, 5, 10], dtype=torch.int32)
    for dropout, same in ((0.0, True), (0.5, False)):
        attended, _ = attend(nn.Identity(), states, states, states, None, dropout, None, packed_texts(boundaries))
        assert torch.equal(attended[0, :5], attended[0, 5:]) == same
