"""Runs scored on other tasks of the same labels: trained on IMDB, how good on SST-2?

Each score is one call of scripts/evaluate.py, kept in the run's `evaluations/` and made again only
when the run is newer or the task's data lie elsewhere.
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
    plugin_files: Mapping[Path, str],
) -> list[Compared]:
    """The runs with their metrics on other tasks.

    Args:
        data: task -> where its data lies, if not on the Hub.
        evaluate: the command of evaluate.py.
        failed: told (run and task, reason) of each score that cannot be made; the others are.
        plugin_files: run directory -> the file that registers its task or model. What a run itself says of one
            is not asked: a stranger's run must not choose what is executed.
    """
    scored = []
    for own in compared:
        elsewhere = {}
        for task in tasks:
            if task == own.run.task:
                continue
            try:
                plugin_file = plugin_files.get(own.run.directory.path)
                results = _evaluate(own.run.directory, task, data.get(task), evaluate, plugin_file)
                elsewhere[task] = {str(results["name"]).rpartition("-")[2]: results}
            except ValueError as error:
                failed(f"{own.run.name} on {task}", str(error))
        scored.append(dataclasses.replace(own, elsewhere=elsewhere))
    return scored


def _evaluate(
    run: RunDirectory, task: str, data_dir: str | None, evaluate: Sequence[str], plugin_file: str | None
) -> dict[str, Any]:
    path: Path = run.evaluations / f"on-{task}.json"
    place = str(Path(data_dir).absolute()) if data_dir else None
    decided_by = [run.metrics_json, Path(plugin_file or run.metrics_json)]
    if path.is_file() and path.stat().st_mtime >= max(file.stat().st_mtime for file in decided_by if file.is_file()):
        kept = read_json(path)
        if (kept.get("task"), kept.get("data_dir")) == (task, place):
            return kept
    if path.is_symlink():  # a stranger's run does not choose what is written to
        path.unlink()
    given = {"--task": task, "--data-dir": place, "--plugin-file": plugin_file, "--output": str(path)}
    flags = [word for flag, value in given.items() if value for word in (flag, value)]
    done = subprocess.run(
        [*evaluate, str(run.path), *flags], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ValueError(words[-1].removeprefix("error: "))
    return read_json(path)
