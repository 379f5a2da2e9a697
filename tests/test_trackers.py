"""Trackers through accelerate: what is refused before anything starts, and what one is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from registry import trackers
from registry.run_log import RunLog


class Heard:
    """A tracker that remembers what it was told."""

    requires_logging_directory = False

    def __init__(self, project: str) -> None:
        self.project, self.logged, self.started, self.finished = project, [], False, False
        self.options: dict[str, Any] = {}

    def start(self) -> None:
        self.started = True

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.options = values

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished = True


def test_unknown_and_missing_trackers_are_named() -> None:
    with pytest.raises(ValueError, match="--tracker wanb: is not one of aim, "):
        trackers.check_trackers(["wanb"])
    with pytest.raises(ValueError, match="--tracker aim: the package aim is not installed"):
        trackers.check_trackers(["aim"])


def test_every_name_is_one_of_accelerate() -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    assert set(trackers.PACKAGES) == set(LOGGER_TYPE_TO_CLASS) - {"tensorboard"}


def test_a_tracker_hears_options_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import tracking

    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Heard)
    (tracker,) = trackers.open_trackers(["wandb"], tmp_path / "sst2-tiny-1", {"epochs": 3.0, "task_option": {"a": "b"}})
    assert isinstance(tracker, Heard)
    assert (tracker.project, tracker.started) == ("sst2-tiny-1", True)
    assert tracker.options == {"epochs": 3.0, "task_option": "{'a': 'b'}"}
    log = RunLog(tmp_path, trackers=[tracker])
    log.write(10, 0.5, "validation", {"accuracy": 0.9, "per_class": {"a": {"f1": 0.8}}})
    log.close()
    assert tracker.logged == [(10, {"validation/accuracy": 0.9, "validation/per_class/a/f1": 0.8})]
    assert tracker.finished
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["accuracy"] == 0.9


def test_histograms_of_trainable_weights_alone(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch import nn

    from registry.training.fsdp import piece

    module = nn.Linear(3, 2)
    module.bias.requires_grad_(False)
    log = RunLog(tmp_path)
    log.write_histograms(4, module, piece)
    log.close()
    found = EventAccumulator(str(tmp_path / "tensorboard" / "train"))
    found.Reload()
    assert found.Tags()["histograms"] == ["weights/weight"]
