"""Memory that runs out while training: the update is done again in smaller parts, as if they had been small before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from faults.kit import differences, drive
from test_parity import ROOT, largest_differences, losses

from registry.training.batches import Update
from registry.training.recovery import within_memory

PLUGIN = """
import os
from dataclasses import dataclass, fields

import torch

from registry import tasks
from registry.tasks.classification import Classification

calls = 0


class FailsBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, loss):
        return loss.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")


@dataclass(frozen=True, kw_only=True)
class Short(Classification):
    def loss(self, outputs, batch, head):
        global calls
        calls += 1
        loss = super().loss(outputs, batch, head)
        if os.environ.get("SHORT") != os.environ["RANK"]:
            return loss
        if calls == 5:  # the second micro-batch of the second attempt at the second update
            raise torch.OutOfMemoryError("CUDA out of memory")
        return FailsBackward.apply(loss) if calls == 3 else loss


demo = tasks.get("demo")
tasks.register("short")(Short(**{item.name: getattr(demo, item.name) for item in fields(demo)}))
"""


def train(
    directory: Path, name: str, micro_batch: int | str, short_rank: str = "", killed_at: int | None = None
) -> tuple[Path, str]:
    """(run directory, what was printed) of two processes with 31 examples an update.

    Memory runs out on `short_rank`; both are killed when `killed_at` updates are done.
    """
    (directory / "short.py").write_text(PLUGIN)
    script = [str(ROOT / "scripts" / "train.py")]
    if killed_at is not None:
        one_rank = ROOT / "tests" / "faults" / "one_rank.py"
        script = [str(one_rank), "all", "SIGKILL", "after-update", str(killed_at + 1)]
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--config_file", str(ROOT / "accelerate_configs" / "cpu_ddp.yaml"), *script]
    command += ["--plugin-file", str(directory / "short.py"), "--task", "short", "--output-dir", str(directory / name)]
    command += ["--batch-size", "31", "--micro-batch-size", str(micro_batch), "--max-updates", "6"]
    command += ["--precision", "fp32", "--checkpoint-every", "3", "--warmup", "0"]
    command += ["--model-option", "dropout=0", "--max-train-rows", "100", "--max-validation-rows", "21"]
    command += ["--max-test-rows", "10", "--log-every", "1"]
    environment = {
        **os.environ,
        "REGISTRY_CACHE": str(directory / "cache"),
        "OMP_NUM_THREADS": "1",
        "SHORT": short_rank,
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=directory, timeout=280)
    assert (done.returncode == 0) == (killed_at is None), done.stdout[-2000:] + done.stderr[-4000:]
    return directory / name, done.stdout + done.stderr


def test_one_of_two_processes_runs_out_and_both_go_on_from_the_same_update(tmp_path: Path) -> None:
    reference, _ = train(tmp_path, "small", 4)
    run, printed = train(tmp_path, "auto", "auto", short_rank="1")
    said = " ".join(printed.split())
    assert "update 2: memory ran out with 16 examples in a forward pass; from here on 8" in said
    assert "update 2: memory ran out with 8 examples in a forward pass; from here on 4" in said
    assert said.count("memory ran out") == 2
    assert len(losses(run)) == 6
    loss, metric, weight = largest_differences(run, reference)
    assert loss < 1e-6
    assert metric < 1e-6
    assert weight < 1e-5


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_killed_after_a_halving_go_on_to_the_same_bits(tmp_path: Path) -> None:
    whole, _ = train(tmp_path, "whole", "auto", short_rank="1")
    killed, _ = train(tmp_path, "killed", "auto", short_rank="1", killed_at=4)
    assert micro_batch_size(killed, 3) == 4
    _, printed = train(tmp_path, "killed", "auto")  # where memory does not run out a second time
    assert "memory ran out" not in printed
    assert micro_batch_size(killed, 6) == 4
    assert differences(whole, killed) == []


def test_killed_after_a_halving_it_goes_on_in_the_smaller_parts_to_the_same_bits(tmp_path: Path) -> None:
    small = ["--max-train-rows", "160", "--max-validation-rows", "32", "--max-test-rows", "16", "--log-every", "1"]
    small += ["--max-updates", "8", "--checkpoint-every", "2", "--keep", "9", "--micro-batch-size", "auto"]
    runs_out = [("memory", "mid-accumulation", 4)]  # in the third update: the first pass only tries what fits

    def request(run: str, **faults: Any) -> dict[str, Any]:
        return {"arguments": [*small, "--output-dir", run], **faults}

    killed = request("killed", earlier=runs_out, phase="after-update", nth=6)
    assert drive(tmp_path, [request("whole", earlier=runs_out), killed, request("killed")]) == [0, -9, 0]
    said = " ".join((tmp_path / "log").read_text().split())
    assert said.count("update 3: memory ran out with 32 examples in a forward pass; from here on 16") == 2
    assert said.count("memory ran out") == 2  # and no more once it goes on
    assert "continuing killed from update 4" in said
    assert [micro_batch_size(tmp_path / "killed", update) for update in (2, 4, 8)] == [32, 16, 16]
    assert differences(tmp_path / "whole", tmp_path / "killed") == []


def micro_batch_size(run: Path, update: int) -> int:
    """What a checkpoint says."""
    loop = json.loads((run / "checkpoints" / f"step-{update:08}" / "loop.json").read_text())
    return int(loop["state"]["micro_batch_size"])


class Parts:
    """Rows that are dealt out in parts of `micro_batch_size`."""

    def __init__(self, rows: torch.Tensor, size: int) -> None:
        self.rows, self.micro_batch_size = rows, size
        self.plan = SimpleNamespace(lengths=torch.tensor([7]))

    def resized(self, update: Update | None = None) -> Any:
        parts = [{"inputs": {"x": part}} for part in self.rows.split(self.micro_batch_size)]
        return SimpleNamespace(number=0, micro_batches=parts, size=self.micro_batch_size)


def gradients(size: int, limit: int, fails: Callable[[], None]) -> tuple[torch.Tensor, list[int], list[str]]:
    """(gradient, sizes of the parts that the window was told of, lines) of an update under dropout."""
    torch.manual_seed(3)
    module = torch.nn.Linear(4, 1)
    updates, lines, window = Parts(torch.randn(8, 4), size), [], []
    setup = SimpleNamespace(
        accelerator=SimpleNamespace(device=torch.device("cpu"), num_processes=1),
        control=SimpleNamespace(any=lambda failed: failed),
        module=module,
        updates=updates,
    )
    kept = SimpleNamespace(mark=lambda: len(window), rewind=lambda mark: window.__delitem__(slice(mark, None)))
    progress = SimpleNamespace(setup=setup, window=kept, display=SimpleNamespace(line=lines.append))

    def compute(micro_batches: list[Any]) -> None:
        for batch in micro_batches:
            inputs = torch.nn.functional.dropout(batch["inputs"]["x"], 0.5)
            module(inputs).sum().backward()
            window.append(len(inputs))
            if len(inputs) > limit and len(window) > 1:
                fails()

    window.append(99)  # of the update before
    within_memory(progress, updates.resized(), compute)
    return module.weight.grad, window, lines


def out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_failed_attempt_leaves_no_trace() -> None:
    expected, told, _ = gradients(2, limit=8, fails=out_of_memory)
    found, again, lines = gradients(8, limit=2, fails=out_of_memory)
    assert torch.equal(found, expected)  # dropout too draws what it would have drawn
    assert again == told == [99, 2, 2, 2, 2]
    assert [line.partition(";")[0] for line in lines] == [
        f"update 1: memory ran out with {size} examples in a forward pass" for size in (8, 4)
    ]


def test_where_nothing_fits_it_ends_in_one_line() -> None:
    with pytest.raises(ValueError, match="one example of 7 tokens does not fit into memory"):
        gradients(4, limit=0, fails=out_of_memory)


def test_another_error_is_raised() -> None:
    def fail() -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        gradients(4, limit=0, fails=fail)
