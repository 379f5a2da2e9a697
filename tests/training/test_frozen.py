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
    """`train(name, …)`: (losses by update, weights, texts that the encoder read in training mode) of a short run."""
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path / "cache"))
    calls: list[bool] = []
    forward = HeadedEncoder.forward

    def counted(self: Any, input_ids: Any = None, attention_mask: Any = None, pooled: Any = None, **inputs: Any) -> Any:
        if self.training:
            calls.append(pooled is None)
        return forward(self, input_ids, attention_mask, pooled, **inputs)

    monkeypatch.setattr(HeadedEncoder, "forward", counted)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}

    def run(name: str, *more: str) -> tuple[list[float], dict[str, Any], int]:
        calls.clear()
        arguments = ["--task", "demo", "--output-dir", str(tmp_path / name), "--log-every", "1", "--epochs", "3"]
        arguments += ["--max-train-rows", "60", "--max-validation-rows", "20", "--max-test-rows", "5", *more]
        arguments += ["--model-option", "pooling=mean", "--model-option", "head_hidden=8", "--precision", "fp32"]
        result = CliRunner().invoke(script().main, arguments)
        assert result.exit_code == 0, result.output
        lines = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
        losses = [line["loss"] for line in lines if line["split"] == "train" and "loss" in line]
        return losses, load_file(tmp_path / name / "model" / "model.safetensors"), sum(calls)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_losses_and_weights_are_those_of_a_run_without_it(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, weights, read = train("once", "--freeze", "encoder")
    monkeypatch.setattr(frozen, "LIMIT", 0)
    expected, reference, read_every_time = train("always", "--freeze", "encoder")
    assert len(expected) == 6
    assert losses == pytest.approx(expected, abs=1e-6)
    assert all((weights[name] - reference[name]).abs().max() < 1e-5 for name in reference)
    assert (read, read_every_time) == (0, 6)


@pytest.mark.parametrize(
    "options",
    [("--freeze", "1"), ("--freeze", "encoder", "--augment-swap", "0.2"), ("--freeze", "encoder", "--epochs", "1")],
)
def test_it_is_left_where_rows_or_their_encoding_change_or_are_seen_once(train: Any, options: tuple[str, ...]) -> None:
    losses, _, read = train("run", *options)
    assert read == len(losses)
