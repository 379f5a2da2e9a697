"""A finished or unfinished run as a report reads it: plain values from its directory, no model, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from registry.heads import Head
from registry.reports.predictions import Predictions, read_predictions
from registry.run_directory import RunDirectory, read_json
from registry.run_log import read_log
from registry.tasks.measures import LESS_IS_BETTER

SPLITS = ("validation", "test")


@dataclass(frozen=True)
class RunRecord:
    """What a run left on disk."""

    directory: RunDirectory
    run: dict[str, Any]
    metrics: dict[str, Any]
    history: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.directory.path.resolve().name

    @property
    def task(self) -> str:
        """The task's registered name."""
        return str(self.run["task"]["name"])

    @property
    def model(self) -> str:
        """The model's registered name, or the path or Hub id that stood for one."""
        return short_name(self.model_source)

    @property
    def model_source(self) -> str:
        """What tells the model from others: its registered name, or the whole path or Hub id that stood for one."""
        model = self.run["model"]
        path = model.get("source", {}).get("path", "")
        return str(path if model["name"] == "transformer" and path else model["name"])

    @cached_property
    def head(self) -> Head:
        """The label space."""
        return Head.from_json(self.run["head"])

    @property
    def finished(self) -> bool:
        """Whether the final metrics stand."""
        return bool(self.metrics)

    @property
    def primary_metric(self) -> str:
        """The metric that selected the best weights, or the first well-known one that was evaluated."""
        wanted = self.run.get("primary_metric") or self.option("best_metric")
        values = self.metrics.get("validation") or self.metrics.get("test") or {}
        known = ("accuracy", "f1", "matthews", "spearman", "pearson", "perplexity", "loss")
        return str(wanted or next((name for name in known if name in values), "loss"))

    def minimizes(self, metric: str) -> bool:
        """Whether a smaller value of the metric is better; of its primary one the run knows."""
        known = metric in self.run.get("less_is_better", LESS_IS_BETTER)
        return bool(self.run.get("minimize", known)) if metric == self.primary_metric else known

    @property
    def headline_split(self) -> str:
        """The split that the run is judged by: test where it has labels, else the first one with the primary metric."""
        scored = [split for split in self.evaluated() if self.metrics[split].get(self.primary_metric) is not None]
        return "test" if "test" in scored else next(iter(scored), "validation")

    @property
    def cost(self) -> dict[str, Any]:
        """Speed, memory, time and parameters of training."""
        return dict(self.metrics.get("train", {}))

    def option(self, name: str, default: Any = None) -> Any:
        """An option of the run, as resolved."""
        return self.run.get("options", {}).get(name, default)

    def evaluated(self) -> list[str]:
        """Splits with final metrics, validation ones first."""
        found = [name for name in self.metrics if name.startswith(SPLITS) and isinstance(self.metrics[name], dict)]
        return sorted(found, key=lambda name: (not name.startswith("validation"), name))

    def predictions(self, split: str) -> Predictions | None:
        """Saved predictions of a split; None where none were saved."""
        path = self.directory.predictions / f"{split}.jsonl"
        return read_predictions(path, self.head) if path.is_file() else None

    def curve(self, split: str, name: str) -> tuple[list[float], list[float]]:
        """(updates, values) logged for a split; "validation" begins with the untrained model, at update 0."""
        points = [
            (line["update"], line[name])
            for line in self.history
            if line.get("split") == split and isinstance(line.get(name), (int, float))
        ]
        return [float(x) for x, _ in points], [float(y) for _, y in points]

    def before(self) -> dict[str, Any]:
        """Validation metrics before fine-tuning; empty where they were not measured."""
        lines = (line for line in self.history if line.get("split") == "validation" and line["update"] == 0)
        return next(lines, {})


def short_name(source: str) -> str:
    """The last part of a path or Hub id; of a run's own `model` directory, the run's name."""
    *before, last = [part for part in source.split("/") if part] or [source]
    return before[-1] if last == "model" and before else last


def read_run(directory: str | Path) -> RunRecord:
    """Read a run directory.

    Raises:
        ValueError: it holds no run, or one of its files is broken.
    """
    run = RunDirectory(Path(directory))
    if not run.run_json.is_file():
        raise ValueError(f"{directory}: no run.json in it, so it is not a run directory")
    metrics = read_json(run.metrics_json) if run.metrics_json.is_file() else {}
    return RunRecord(run, read_json(run.run_json), metrics, read_log(run.path))
