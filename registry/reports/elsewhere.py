"""Runs scored on other tasks of the same labels: trained on IMDB, how good on SST-2?

Each score is one call of scripts/evaluate.py, kept in the run's `evaluations/` and made again only
when the run is newer.
"""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from registry.reports.comparison import Compared
from registry.run_directory import RunDirectory, read_json


def with_scores_on(
    compared: Sequence[Compared],
    tasks: Sequence[str],
    data: Mapping[str, str],
    evaluate: Sequence[str],
    failed: Callable[[str, str], None],
) -> list[Compared]:
    """The runs with their metrics on other tasks.

    Args:
        data: task -> where its data lies, if not on the Hub.
        evaluate: the command of evaluate.py.
        failed: told (run and task, reason) of each score that cannot be made; the others are.
    """
    scored = []
    for own in compared:
        elsewhere = {}
        for task in tasks:
            if task == own.run.task:
                continue
            try:
                results = _evaluate(own.run.directory, task, data.get(task), evaluate)
                elsewhere[task] = {str(results["name"]).rpartition("-")[2]: results}
            except ValueError as error:
                failed(f"{own.run.name} on {task}", str(error))
        scored.append(dataclasses.replace(own, elsewhere=elsewhere))
    return scored


def _evaluate(run: RunDirectory, task: str, data_dir: str | None, evaluate: Sequence[str]) -> dict[str, Any]:
    path: Path = run.evaluations / f"{task}.json"
    if not path.is_file() or path.stat().st_mtime < run.metrics_json.stat().st_mtime:
        place = ["--data-dir", data_dir] if data_dir else []
        command = [*evaluate, str(run.path), "--task", task, *place, "--output", str(path)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise ValueError(words[-1].removeprefix("error: "))
    return read_json(path)
