"""After training an engine that cuts weights gives up its memory, before the best weights are loaded whole."""

from __future__ import annotations

import importlib.util
import json
import signal
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState, GradientState, PartialState
from click.testing import CliRunner, Result

from registry.models.transformer import Transformer
from registry.training import results, setup

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
Train = Callable[..., Result]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Train]:
    """`train(at_load)` runs scripts/train.py; `at_load(held)` is called at every load, with what is still in memory."""
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(results, "is_sharded", lambda accelerator: True)
    build, load = setup.build_setup, Transformer.load
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}

    def run(at_load: Callable[[list[Any]], None]) -> Result:
        parts: list[weakref.ref[Any]] = []

        def built(*arguments: Any) -> setup.Setup:
            made = build(*arguments)
            assert made.optimizer is not None
            parts.extend(map(weakref.ref, (made.module, made.optimizer, made.optimizer.optimizer, made.average)))
            return made

        def loaded(spec: Transformer, *arguments: Any) -> Any:
            at_load([held for part in parts if (held := part()) is not None])
            return load(spec, *arguments)

        monkeypatch.setattr(setup, "build_setup", built)
        monkeypatch.setattr(Transformer, "load", loaded)
        for state in (AcceleratorState, GradientState, PartialState):
            state._reset_state()
        specification = importlib.util.spec_from_file_location("train_script", SCRIPT)
        assert specification is not None
        assert specification.loader is not None
        script = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(script)
        rows = ["--max-train-rows", "40", "--max-validation-rows", "20", "--max-test-rows", "5", "--max-updates", "2"]
        options = [*rows, "--ema-decay", "0.9", "--precision", "fp32", "--output-dir", str(tmp_path / "run")]
        return CliRunner().invoke(script.main, options)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_nothing_of_the_engine_is_in_memory_when_the_best_weights_come(train: Train, tmp_path: Path) -> None:
    seen: list[list[Any]] = []
    result = train(seen.append)
    assert result.exit_code == 0, result.output
    assert seen == [[]]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["train"]["trainable_parameters"] > 0


def test_a_run_that_is_stopped_while_it_scores_goes_on_from_its_end(train: Train, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = train(lambda held: (run / "STOP").touch())
    assert result.exit_code == 75, result.output
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000002"]
    result = train(lambda held: None)
    assert result.exit_code == 0, result.output
    assert "from update 2" in " ".join(result.output.split())
    assert json.loads((run / "run.json").read_text())["status"] == "finished"


def test_the_cost_of_training_is_taken_before_anything_is_loaded(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    cost = results.training_cost
    monkeypatch.setattr(results, "training_cost", lambda *arguments: order.append("cost") or cost(*arguments))
    assert train(lambda held: order.append("loaded")).exit_code == 0
    assert order == ["cost", "loaded"]
