"""Cheap dropout on CPUs is dropout: its probability, its gradients, its seed, and nothing else than SDPA without it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2Model

from registry.training.dropout import Dropout, attend, replace_dropout


def test_a_layer_scales_what_it_keeps_and_passes_the_same_gradient() -> None:
    torch.manual_seed(0)
    states = torch.ones(50, 7, requires_grad=True)
    out = Dropout(0.25)(states)
    out.sum().backward()
    assert out.detach().unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert torch.equal(states.grad, out.detach())  # the gradient of a sum is what each element was multiplied by


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_the_ends_are_torchs(probability: float) -> None:
    assert torch.equal(Dropout(probability)(torch.ones(4)), torch.full((4,), 1 - probability))


def test_evaluation_changes_nothing() -> None:
    states = torch.randn(3, 4)
    assert Dropout(0.5).eval()(states) is states


def test_the_seed_decides() -> None:
    def draw() -> torch.Tensor:
        torch.manual_seed(3)
        return Dropout(0.5)(torch.ones(40))

    assert torch.equal(draw(), draw())


def test_recomputed_activations_meet_the_same_noise() -> None:
    layer = nn.Sequential(nn.Linear(8, 8), Dropout(0.5), nn.Linear(8, 8))
    states = torch.randn(5, 8)
    gradients = []
    for run in (layer, lambda x: checkpoint(layer, x, use_reentrant=False)):
        torch.manual_seed(0)
        layer.zero_grad()
        run(states).square().sum().backward()
        gradients.append(layer[0].weight.grad.clone())
    assert torch.allclose(*gradients)


def states(batch: int, heads: int = 2, length: int = 9, width: int = 4) -> list[torch.Tensor]:
    return [torch.randn(batch, heads, length, width, requires_grad=True) for _ in range(3)]


def padding(batch: int, length: int = 9) -> torch.Tensor:
    lengths = torch.randint(1, length + 1, (batch, 1))
    return (torch.arange(length) < lengths)[:, None, None].expand(batch, 1, length, length)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_that_drops_almost_nothing_is_sdpa(masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.training.dropout.PIECE", 2 * 9 * 9 * 2)  # five texts in three pieces
    torch.manual_seed(0)
    query, key, value = states(5)
    mask = padding(5) if masked else None
    ours, _ = attend(nn.Identity(), query, key, value, mask, 1e-9, is_causal=False)
    theirs = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
    assert torch.allclose(ours, theirs, atol=1e-6)
    rising = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad(ours, (query, key, value), rising),
        torch.autograd.grad(theirs, (query, key, value), rising),
        strict=True,
    ):
        assert torch.allclose(mine, other, atol=1e-5)


def test_gradients_of_attention_with_dropout_are_those_of_its_differences() -> None:
    query, key, value = (part.double().detach().requires_grad_() for part in states(3, length=4))

    def seeded(*parts: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return attend(nn.Identity(), *parts, padding(3, 4), 0.3, is_causal=False)[0]

    torch.manual_seed(5)
    assert torch.autograd.gradcheck(seeded, (query, key, value))


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_computed_in_full_and_given_back_as_it_came(autocast: bool) -> None:
    torch.manual_seed(0)
    exact = states(3, length=33)
    halves = [part.detach().bfloat16().requires_grad_() for part in exact]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        ours, _ = attend(nn.Identity(), *halves, padding(3, 33), 1e-9, is_causal=False)
    torch.manual_seed(0)
    _ = states(3, length=33)
    mask = padding(3, 33)
    theirs = F.scaled_dot_product_attention(*(part.float() for part in halves), attn_mask=mask).transpose(1, 2)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.float(), theirs, atol=1e-2, rtol=1e-2)
    rising = torch.randn_like(theirs)
    found = torch.autograd.grad(ours, halves, rising.bfloat16())
    assert {part.dtype for part in found} == {torch.bfloat16}
    torch.testing.assert_close(found, torch.autograd.grad(theirs, halves, rising), atol=2e-2, rtol=2e-2)


def test_attention_keeps_its_mean_under_dropout() -> None:
    torch.manual_seed(0)
    query, key, value = (part.detach() for part in states(1))
    drawn = attend(
        nn.Identity(), *(part.expand(20_000, -1, -1, -1) for part in (query, key, value)), None, 0.3, is_causal=False
    )[0]
    theirs = F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
    assert torch.allclose(drawn.mean(0, keepdim=True), theirs, atol=0.03)


def test_causal_attention_without_a_mask_is_left_to_sdpa() -> None:
    query, key, value = states(2)
    torch.manual_seed(0)
    ours, _ = attend(nn.Identity(), query, key, value, None, 0.3, is_causal=True)
    torch.manual_seed(0)
    theirs = F.scaled_dot_product_attention(query, key, value, dropout_p=0.3, is_causal=True)
    assert torch.equal(ours, theirs.transpose(1, 2))


def test_a_model_of_transformers_drops_cheaply_in_training_alone() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    module = BertForSequenceClassification(BertConfig(vocab_size=50, **sizes))
    names = set(module.state_dict())
    inputs = {"input_ids": torch.randint(0, 50, (3, 6)), "attention_mask": torch.ones(3, 6, dtype=torch.long)}
    before = module.eval()(**inputs).logits
    replace_dropout(module)
    assert {type(part) for part in module.modules() if isinstance(part, nn.Dropout)} == {Dropout}
    assert set(module.state_dict()) == names
    assert torch.equal(module(**inputs).logits, before)
    logits = module.train()(**inputs).logits
    assert not torch.equal(logits, before)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in module.bert.encoder.parameters())


def test_a_decoder_sees_no_later_token_under_dropout() -> None:
    torch.manual_seed(0)
    module = GPT2Model(GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2)).train()
    replace_dropout(module)
    mask = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1]])
    embedded = torch.randn(2, 4, 16, requires_grad=True)
    module(inputs_embeds=embedded, attention_mask=mask).last_hidden_state[:, 1].sum().backward()
    assert embedded.grad[:, 2:].abs().max() == 0
    assert embedded.grad[1, 0].abs().max() == 0  # padding
