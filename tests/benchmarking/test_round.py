"""One round: what is read from a run of ours."""

from __future__ import annotations

import json
from pathlib import Path

from registry.benchmarking.round import figures_of_run


def test_the_metric_is_that_of_the_last_weights_and_the_loss_that_of_every_update(tmp_path: Path) -> None:
    lines = [
        {"update": 0, "split": "validation", "f1": 0.1},
        {"update": 10, "split": "train", "loss": 1.0, "learning_rate": 1e-3},
        {"update": 10, "split": "train", "accuracy": 0.5},
        {"update": 10, "split": "validation", "f1": 0.9},
        {"update": 12, "split": "train", "loss": 0.4, "learning_rate": 1e-3},
        {"update": 12, "split": "validation", "f1": 0.7},
        {"update": 12, "split": "best_validation", "f1": 0.9},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    names = ("samples_per_second", "tokens_per_second", "peak_memory_mb", "seconds")
    train = {**dict.fromkeys(names, 5.0), "precision": "fp32"}
    (tmp_path / "metrics.json").write_text(json.dumps({"updates": 12, "train": train, "validation": {"f1": 0.9}}))
    (tmp_path / "run.json").write_text(json.dumps({"primary_metric": "f1"}))
    found = figures_of_run(tmp_path)
    assert (found["metric"], found["metric_name"], found["updates"]) == (0.7, "f1", 12)
    assert found["loss"] == (10 * 1.0 + 2 * 0.4) / 12
    assert {name: found[name] for name in train} == train
