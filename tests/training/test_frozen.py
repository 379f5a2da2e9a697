"""A frozen encoder that runs once gives the training that it gives when it runs in every update."""

from __future__ import annotations

import importlib.util
import json
import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from registry.models.heads import HeadedEncoder
from registry.training import frozen

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"


def script() -> ModuleType:
    """scripts/train.py, with accelerate as at the start of a process."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    specification = importlib.util.spec_from_file_location("train_script", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`train(name, …)`: (losses by split, weights, runs of the encoder in training and in eval mode)."""
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path / "cache"))
    calls: list[bool] = []
    forward = HeadedEncoder.forward

    def counted(self: Any, input_ids: Any = None, attention_mask: Any = None, pooled: Any = None, **inputs: Any) -> Any:
        if pooled is None:
            calls.append(self.training)
        return forward(self, input_ids, attention_mask, pooled, **inputs)

    monkeypatch.setattr(HeadedEncoder, "forward", counted)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}

    def run(name: str, *more: str) -> tuple[dict[str, list[float]], dict[str, Any], tuple[int, int]]:
        calls.clear()
        arguments = ["--task", "demo", "--output-dir", str(tmp_path / name), "--log-every", "1", "--epochs", "3"]
        arguments += ["--max-train-rows", "60", "--max-validation-rows", "20", "--max-test-rows", "5", *more]
        arguments += ["--model-option", "pooling=mean", "--model-option", "head_hidden=8", "--precision", "fp32"]
        result = CliRunner().invoke(script().main, arguments)
        assert result.exit_code == 0, result.output
        losses: dict[str, list[float]] = {"train": [], "validation": []}
        for line in map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines()):
            if line["split"] in losses and "loss" in line:
                losses[line["split"]].append(line["loss"])
        weights = load_file(tmp_path / name / "model" / "model.safetensors")
        return losses, weights, (calls.count(True), calls.count(False))

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("more", [(), ("--packing",)])
def test_losses_and_weights_are_those_of_a_run_without_it(
    train: Any, more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, weights, read = train("once", "--freeze", "encoder", *more)
    monkeypatch.setattr(frozen, "LIMIT", 0)
    expected, reference, read_every_time = train("always", "--freeze", "encoder", *more)
    assert (len(expected["train"]), len(expected["validation"])) == (6, 4)  # validation before the first update, too
    for split, values in losses.items():
        assert values == pytest.approx(expected[split], abs=1e-6)
    assert all((weights[name] - reference[name]).abs().max() < 1e-5 for name in reference)
    assert (read[0], read_every_time[0]) == (0, 6)
    assert read_every_time[1] == read[1] + 3 - 1  # three of four validations, but train once


@pytest.mark.parametrize(
    "options",
    [("--freeze", "1"), ("--freeze", "encoder", "--augment-swap", "0.2"), ("--freeze", "encoder", "--epochs", "1")],
)
def test_it_is_left_where_rows_or_their_encoding_change_or_are_seen_once(train: Any, options: tuple[str, ...]) -> None:
    losses, _, read = train("run", *options)
    assert read[0] == len(losses["train"])
