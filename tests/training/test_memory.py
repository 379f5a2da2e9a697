"""Out of memory is simulated: a model that refuses batches above a size, on one process or on one of two."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from registry.training.memory import fit_micro_batch, runs_out
from registry.training.plan import UpdatePlan


@dataclass
class Rows:
    """Encoded rows whose features are their numbers."""

    asked: list[list[int]] = field(default_factory=list)

    def rows(self, indices: np.ndarray) -> list[int]:
        self.asked.append([int(i) for i in indices])
        return self.asked[-1]


def setup(limit: int, *, other_fails_above: int = 1000, size: int = 16) -> Any:
    """What `fit_micro_batch` uses of a setup; a forward pass of more than `limit` examples runs out."""
    model = torch.nn.Linear(1, 1)
    rows = Rows()

    def objective(module: torch.nn.Module, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        inputs = batch["inputs"]["x"]
        if len(inputs) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return module(torch.nn.functional.dropout(inputs)).sum(), {}

    updates = SimpleNamespace(
        micro_batch_size=size,
        plan=UpdatePlan(np.arange(100)[::-1], batch_size=size, seed=0),
        encoded=lambda epoch: rows,
        collate=lambda features, epoch: {"inputs": {"x": torch.ones(len(features), 1)}},
    )
    accelerator = SimpleNamespace(
        device=torch.device("cpu"),
        distributed_type="NO",
        gradient_state=SimpleNamespace(_set_sync_gradients=lambda last: None),
        no_sync=lambda model: contextlib.nullcontext(),
        backward=lambda loss: loss.backward(),
    )
    control = SimpleNamespace(any=lambda failed: failed or len(rows.asked[-1]) > other_fails_above)
    return SimpleNamespace(
        accelerator=accelerator,
        control=control,
        module=model,
        model=model,
        objective=objective,
        updates=updates,
        rows=rows,
    )


def test_what_fits_stays() -> None:
    lines: list[str] = []
    tried = setup(limit=16)
    fit_micro_batch(tried, "adamw", lines.append)
    assert tried.updates.micro_batch_size == 16
    assert lines == []
    assert sorted(tried.rows.asked[0]) == list(range(16))  # the longest rows, which are the first here


def test_it_is_halved_until_it_fits_everywhere() -> None:
    lines: list[str] = []
    alone, beside = setup(limit=5), setup(limit=16, other_fails_above=7)
    fit_micro_batch(alone, "adamw", lines.append)
    fit_micro_batch(beside, "sgd", lines.append)
    assert alone.updates.micro_batch_size == beside.updates.micro_batch_size == 4
    assert "memory holds 4 of the 16 examples" in lines[0]


def test_trying_leaves_no_trace() -> None:
    tried = setup(limit=3)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    fit_micro_batch(tried, "adamw", print)
    assert torch.equal(torch.rand(3), expected)
    assert tried.model.weight.grad is None


def test_one_example_that_does_not_fit_is_an_error_in_one_line() -> None:
    with pytest.raises(ValueError, match="one example of 99 tokens does not fit into memory"):
        fit_micro_batch(setup(limit=0), "adamw", print)


def test_zero_is_refused() -> None:
    tried = setup(limit=4)
    tried.accelerator.distributed_type = "DEEPSPEED"
    with pytest.raises(ValueError, match="with ZeRO or FSDP give a number"):
        fit_micro_batch(tried, "adamw", print)


@pytest.mark.parametrize(
    "text",
    [
        "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_whoever_asked_for_memory_its_error_is_known(text: str) -> None:
    def fail() -> None:
        raise RuntimeError(text)

    assert runs_out(fail)


def test_another_error_is_not_taken_for_memory() -> None:
    def fail() -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        runs_out(fail)
