"""A frozen encoder that runs once gives the training that it gives when it runs in every update."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from registry.models.heads import HeadedEncoder
from registry.training import frozen
from registry.training import pooled as pooled_texts

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
    """`train(name, …)`: (losses by split, weights, rows that the encoder read in training and in eval mode)."""
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pooled_texts, "PROBED", 1)
    calls: dict[bool, int] = {}
    forward = HeadedEncoder.forward

    def counted(self: Any, input_ids: Any = None, attention_mask: Any = None, pooled: Any = None, **inputs: Any) -> Any:
        if pooled is None:
            calls[self.training] = calls.get(self.training, 0) + len(input_ids)
        return forward(self, input_ids, attention_mask, pooled, **inputs)

    monkeypatch.setattr(HeadedEncoder, "forward", counted)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}

    def run(name: str, *more: str) -> tuple[dict[str, list[float]], dict[str, Any], tuple[int, int]]:
        calls.clear()
        arguments = ["--task", "demo", "--output-dir", str(tmp_path / name), "--log-every", "1", "--epochs", "3"]
        arguments += ["--max-train-rows", "60", "--max-validation-rows", "20", "--max-test-rows", "5"]
        arguments += ["--model-option", "pooling=mean", "--model-option", "head_hidden=8", "--precision", "fp32", *more]
        result = CliRunner().invoke(script().main, arguments)
        assert result.exit_code == 0, result.output
        losses: dict[str, list[float]] = {"train": [], "validation": []}
        for line in map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines()):
            if line["split"] in losses and "loss" in line:
                losses[line["split"]].append(line["loss"])
        weights = load_file(tmp_path / name / "model" / "model.safetensors")
        return losses, weights, (calls.get(True, 0), calls.get(False, 0))

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
    assert (read[0], read_every_time[0]) == (0, 3 * 60)
    # Train once in place of four validations and the last; two probes of train, two splits and test and trials beside.
    assert read[1] - read_every_time[1] == 60 - 4 * 20 + 2 * 4


@pytest.mark.parametrize(
    "options",
    [("--freeze", "1"), ("--freeze", "encoder", "--augment-swap", "0.2"), ("--freeze", "encoder", "--epochs", "1")],
)
def test_it_is_left_where_rows_or_their_encoding_change_or_are_seen_once(train: Any, options: tuple[str, ...]) -> None:
    losses, _, read = train("run", *options)
    assert read[0] == 60 * len(losses["validation"][1:])


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Where pooled texts are kept."""
    return tmp_path / "cache" / "pooled"


def test_another_head_reads_what_is_kept(train: Any, cache: Path) -> None:
    train("first", "--freeze", "encoder")
    assert len(list(cache.iterdir())) == 3
    second = ("--freeze", "encoder", "--model-option", "head_hidden=4")
    losses, weights, read = train("second", *second)
    assert read[1] < 20  # probes and trials alone
    shutil.rmtree(cache)
    expected, reference, read_anew = train("anew", *second)
    assert read_anew[1] == read[1] + 60 + 20 + 5
    assert losses == expected
    assert all(torch.equal(weights[name], reference[name]) for name in reference)


@pytest.mark.parametrize(
    "other", [("--model-option", "pooling=max"), ("--max-length", "8"), ("--model-option", "hidden_size=48")]
)
def test_texts_of_another_encoder_or_length_are_kept_elsewhere(train: Any, cache: Path, other: tuple[str, ...]) -> None:
    train("first", "--freeze", "encoder")
    before = {*cache.iterdir()}
    _, _, read = train("other", "--freeze", "encoder", *other)
    assert len({*cache.iterdir()} - before) == 3
    assert read[1] > 60 + 20 + 5


def test_a_cache_that_is_damaged_or_cannot_be_written_costs_time_alone(train: Any, cache: Path) -> None:
    expected, reference, _ = train("first", "--freeze", "encoder")
    for file in cache.glob("*/pooled.values"):
        file.write_bytes(file.read_bytes()[:-4])
    losses, weights, _ = train("damaged", "--freeze", "encoder")
    assert losses == expected
    shutil.rmtree(cache)
    cache.write_text("a file where a folder should be")
    losses, weights, _ = train("unwritable", "--freeze", "encoder")
    assert losses == expected
    assert all(torch.equal(weights[name], reference[name]) for name in reference)
