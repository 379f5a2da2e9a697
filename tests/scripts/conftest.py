"""scripts/*.py run inside the test process: what was printed, and the exit code."""

from __future__ import annotations

import importlib.util
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def train(tmp_path, monkeypatch):
    """`train("--task", "demo", …)` in an empty folder; accelerate and signals are as before afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path / "cache"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    yield run_train
    for number, handler in handlers.items():
        signal.signal(number, handler)


def run_train(*arguments: object) -> Result:
    """The result of scripts/train.py with these arguments."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    specification = importlib.util.spec_from_file_location("train_script", SCRIPTS / "train.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return CliRunner().invoke(module.main, [str(argument) for argument in arguments])
