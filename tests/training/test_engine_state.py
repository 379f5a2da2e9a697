"""What a checkpoint holds of model and optimizer goes on to the same bits, for every optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import nn

from registry.options import OPTIMIZERS
from registry.training.engine_state import load_engine_state, save_engine_state, weight_norm
from registry.training.optimizers import build_optimizer, page_again
from registry.training.schedules import build_schedule
from registry.training.setup import Setup

WIDE = 128
"""A square map is large enough for 8-bit state; biases and a narrow map have theirs in float32."""


def prepared(name: str) -> Any:
    """What a checkpoint knows of a setup: a few maps at rates of their own under the optimizer `name`."""
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    accelerator = Accelerator(cpu=True)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(WIDE, WIDE), nn.Linear(WIDE, WIDE), nn.Linear(WIDE, 3))
    groups = [{"params": list(part.parameters()), "lr": 1e-3 * n} for n, part in enumerate(module, start=1)]
    optimizer = build_optimizer(name, groups)
    schedule = build_schedule("linear", optimizer, warmup_updates=2, total_updates=10)
    model, optimizer = accelerator.prepare(module, optimizer)
    return Setup(
        accelerator=accelerator,
        module=module,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        average=None,
        validation={},
        **dict.fromkeys(
            (
                "precision",
                "control",
                "groups",
                "rows",
                "objective",
                "updates",
                "scorer",
                "total_updates",
                "packing",
                "spared",
            )
        ),
    )


def train(setup: Any, first: int, last: int) -> None:
    for update in range(first, last):
        inputs = torch.randn(16, WIDE, generator=torch.Generator().manual_seed(update))
        setup.accelerator.backward(setup.model(inputs).pow(2).mean())
        setup.optimizer.step()
        setup.optimizer.zero_grad()
        setup.schedule.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_saved_goes_on_to_the_same_bits(tmp_path: Path, name: str) -> None:
    whole = prepared(name)
    train(whole, 0, 3)
    save_engine_state(tmp_path, whole)
    train(whole, 3, 6)
    again = prepared(name)
    load_engine_state(tmp_path, again)
    train(again, 3, 6)
    expected = whole.module.state_dict()
    for key, value in again.module.state_dict().items():
        assert torch.equal(value, expected[key]), key


def test_a_paged_optimizer_is_paged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = prepared("paged_adamw8bit")
    train(setup, 0, 2)
    optimizer = setup.optimizer.optimizer
    before = {p: {n: state[n].clone() for n in ("state1", "state2")} for p, state in optimizer.state.items()}
    pages = []

    def page(parameter: nn.Parameter, dtype: torch.dtype) -> torch.Tensor:
        pages.append(torch.zeros_like(parameter, dtype=dtype))
        return pages[-1]

    monkeypatch.setattr(optimizer, "get_state_buffer", page)
    page_again(setup.optimizer)
    kept = [(optimizer.state[p][n], value) for p, values in before.items() for n, value in values.items()]
    assert all(found is there for (found, _), there in zip(kept, pages, strict=True))
    assert all(torch.equal(found, value) for found, value in kept)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_shows_in_their_norm(bad: float) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, bias=False))
    module[1].requires_grad_(False)
    with torch.no_grad():
        module[1].weight[0, 0] = bad  # is not trained: a checkpoint does not hold it
        assert weight_norm(module).isfinite()
        module[0].bias[1] = bad
    assert not weight_norm(module).isfinite()
    assert weight_norm(nn.Identity()) == 0
