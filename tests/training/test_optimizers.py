from __future__ import annotations

import importlib.util

import pytest
import torch

from registry.options import OPTIMIZERS
from registry.training.optimizers import build_optimizer

RATES = {"lion8bit": 1e-2, "adafactor": 0.1, "lamb": 0.1, "sgd": 1.0}


def linear(width: int = 128) -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(width, width)


def groups(model: torch.nn.Module, lr: float = 1e-2, weight_decay: float = 0.0) -> list[dict]:
    return [{"params": list(model.parameters()), "lr": lr, "weight_decay": weight_decay}]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_a_loss(name: str) -> None:
    model, goal = linear(), torch.randn(128, 128)
    inputs = torch.randn(256, 128)
    optimizer = build_optimizer(name, groups(model, lr=RATES.get(name, 1e-2)))
    history = []
    for _ in range(30):
        loss = (model(inputs) - inputs @ goal).pow(2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        history.append(float(loss.detach()))
    assert history[-1] < 0.9 * history[0]


@pytest.mark.parametrize("name", ["adamw", "sgd", "lamb"])
def test_an_overflowed_update_is_skipped_and_said(name: str) -> None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState, PartialState

    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    accelerator = Accelerator(cpu=True)
    accelerator.scaler = scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    model = linear(4)
    before = model.weight.detach().clone()
    optimizer = accelerator.prepare_optimizer(build_optimizer(name, groups(model)))
    said, scales = [], []
    for factor in (float("inf"), 1.0):
        scaler.scale(model(torch.ones(1, 4)).sum() * factor).backward()
        optimizer.step()
        optimizer.zero_grad()
        said.append(accelerator.optimizer_step_was_skipped)
        scales.append(scaler.get_scale())
        assert torch.equal(model.weight, before) == said[-1]
    assert said == [True, False]
    assert scales == [2.0, 2.0]


@pytest.mark.parametrize(("name", "states"), [("adamw8bit", 2), ("paged_adamw8bit", 2), ("lion8bit", 1)])
def test_eight_bit_state_is_bytes(name: str, states: int) -> None:
    model = linear()
    optimizer = build_optimizer(name, groups(model))
    model(torch.ones(1, 128)).sum().backward()
    optimizer.step()
    kept = [v for v in optimizer.state[model.weight].values() if torch.is_tensor(v) and v.shape == (128, 128)]
    assert [v.dtype for v in kept] == [torch.uint8] * states


def test_lamb_moves_a_matrix_by_its_rate_times_its_norm() -> None:
    model = torch.nn.Linear(4, 3, bias=False)
    before = model.weight.detach().clone()
    optimizer = build_optimizer("lamb", groups(model, lr=0.1))
    model(torch.randn(5, 4)).pow(2).sum().backward()
    optimizer.step()
    assert float((model.weight.detach() - before).norm()) == pytest.approx(0.1 * float(before.norm()), rel=1e-4)


def test_lamb_moves_zeros_as_adam_does() -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    weight.grad = torch.tensor([1.0, -2.0, 4.0])
    build_optimizer("lamb", [{"params": [weight], "lr": 0.1, "weight_decay": 0.0}]).step()
    assert weight.tolist() == pytest.approx([-0.1, 0.1, -0.1], rel=1e-4)


@pytest.mark.parametrize("name", ["adafactor", "lamb"])
def test_what_needs_whole_parameters_is_refused_under_zero(name: str) -> None:
    with pytest.raises(ValueError, match=f"--optimizer {name} needs whole parameters"):
        build_optimizer(name, groups(linear()), sharded=True)


@pytest.mark.parametrize("name", ["sgd", "adamw8bit", "lion8bit"])
def test_what_offloading_would_replace_by_another_is_refused(name: str) -> None:
    build_optimizer("adamw", groups(linear()), sharded=True, offloaded=True)
    with pytest.raises(ValueError, match=f"--optimizer {name}: where the optimizer is offloaded DeepSpeed has adamw"):
        build_optimizer(name, groups(linear()), sharded=True, offloaded=True)


@pytest.mark.parametrize("name", ["adamw8bit", "paged_adamw8bit", "lion8bit"])
def test_eight_bits_are_refused_under_fsdp(name: str) -> None:
    with pytest.raises(ValueError, match=f"--optimizer {name} cannot work on the pieces that FSDP makes"):
        build_optimizer(name, groups(linear()), sharded=True, fsdp=True)


def test_a_missing_bitsandbytes_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name))
    with pytest.raises(ValueError, match="--optimizer adamw8bit needs bitsandbytes: pip install bitsandbytes"):
        build_optimizer("adamw8bit", groups(linear()))
