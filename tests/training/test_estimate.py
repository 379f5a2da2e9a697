from __future__ import annotations

import pytest
import torch

from registry.training.estimate import SavedActivations, gradient_bytes, measure, optimizer_bytes, weight_bytes
from registry.training.optimizers import build_optimizer


def model() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 64, bias=False))


def test_weights_and_gradients_are_counted() -> None:
    module = model()
    numbers = 64 * 128 + 128 + 128 * 64
    assert weight_bytes(module) == 4 * numbers
    module[0].requires_grad_(False)
    assert gradient_bytes(module, split=1) == 4 * 128 * 64
    assert gradient_bytes(module, split=2) == 2 * 128 * 64


def test_optimizer_state_is_what_the_optimizer_holds() -> None:
    module = model()
    groups = [{"params": list(module.parameters()), "lr": 1e-3, "weight_decay": 0.0}]
    expected = {"adamw": 8, "sgd": 4, "adamw8bit": 2}
    numbers = sum(p.numel() for p in module.parameters())
    for name, bytes_each in expected.items():
        optimizer = build_optimizer(name, groups)
        module(torch.randn(3, 64)).sum().backward()
        optimizer.step()
        assert abs(optimizer_bytes(optimizer) / numbers - bytes_each) < 0.5, name


def test_activations_are_what_backward_needs_and_no_parameters() -> None:
    module, inputs = model(), torch.randn(10, 64)
    with SavedActivations(module) as saved:
        module(inputs)
    # The input of each linear map (the second one is what ReLU keeps too).
    assert saved.bytes == 4 * 10 * (64 + 128)


def test_texts_that_attention_reads_side_by_side_have_their_memory_counted() -> None:
    texts = [torch.randn(length, 4) for length in (2, 3)]
    nested = torch.nested.nested_tensor(texts, layout=torch.jagged, requires_grad=True)
    with SavedActivations(model()) as saved:
        nested * nested
    assert saved.bytes >= 4 * (2 + 3) * 4


def test_speed_leaves_the_warm_up_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that is still at work on the warm-up is waited for before the clock starts."""
    done: list[int | str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: done.append("waited"))
    speed = measure([lambda number=number: done.append(number) or 10 for number in range(6)])
    assert done == [0, 1, "waited", 2, 3, 4, 5, "waited"]
    assert speed > 0
