"""Trainings with and without faults, and what must be the same about them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from registry.run_log import read_log

DRIVER = Path(__file__).parent / "driver.py"
ROOT = Path(__file__).parents[2]
TIMES = (
    *("samples_per_second", "tokens_per_second", "seconds", "checkpoint_seconds", "checkpoint_share"),
    *("peak_memory_mb", "peak_memory_mb_by_rank"),
)
"""What may differ between a run and one that was killed."""


def drive(folder: Path, requests: Sequence[dict[str, Any]]) -> list[int]:
    """Exit status of each training, one after the other (-9: it killed itself); `folder`/log holds what they said."""
    request = folder / "request.json"
    request.write_text(json.dumps(list(requests)), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "REGISTRY_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(request)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        check=False,
    )
    (folder / "log").write_text(done.stdout + done.stderr, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def differences(whole: Path, other: Path) -> list[str]:
    """What differs between two runs beside times: weights, logged lines, curves, metrics, predictions, scraps."""
    found = []
    for name in sorted(p.name for p in (whole / "model").glob("*.safetensors")):
        if (whole / "model" / name).read_bytes() != (other / "model" / name).read_bytes():
            found.append(f"model/{name}")
    if _lines(whole) != _lines(other):
        found.append("metrics.jsonl")
    if scalars(whole) != scalars(other):
        found.append("tensorboard")
    if _metrics(whole) != _metrics(other):
        found.append("metrics.json")
    for path in sorted((whole / "predictions").glob("*.jsonl")):
        if path.read_bytes() != (other / "predictions" / path.name).read_bytes():
            found.append(f"predictions/{path.name}")
    return found + [f"left behind: {path.relative_to(other)}" for path in scraps(other)]


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """(update, value) of every curve that TensorBoard shows, by "split/name", but for times."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for folder in sorted(path for path in (run / "tensorboard").iterdir() if path.name != "hparams"):
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
        for name in sorted(set(events.Tags()["scalars"]) - set(TIMES)):
            found[f"{folder.name}/{name}"] = [(event.step, event.value) for event in events.Scalars(name)]
    return found


def scraps(run: Path) -> list[Path]:
    """What a killed process was writing and nobody removed."""
    return [path for path in run.rglob(".*") if path.name != ".lock"]


def _lines(run: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name not in TIMES} for line in read_log(run)]


def _metrics(run: Path) -> dict[str, Any]:
    values = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    values["train"] = {name: value for name, value in values["train"].items() if name not in TIMES}
    return values
