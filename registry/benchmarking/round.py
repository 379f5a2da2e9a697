"""One round of one side: train, score validation in the same way, and say how fast it went."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from registry.benchmarking.peak import flops_per_token, matmul_peak
from registry.training.assembly import Job, assemble, choose

SCRIPT = Path(sys.argv[0]).parent / "train.py"


def run_round(side: str, typed: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Figures of one training: speed, memory, share of the measured matmul peak, loss, the task's metric.

    Raises:
        ValueError: the options are wrong.
        RuntimeError: our own training failed.
    """
    values = _ours(typed, folder) if side == "ours" else _peer(side, typed, folder)
    job = assemble(choose({**typed, "epochs": 0.0}, {}), lambda text: None)
    lengths = job.encoded["train"].lengths.astype(np.float64)
    module = job.spec.build(job.head, job.tokenizer, job.choice.source)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    flops = flops_per_token(module, float((lengths**2).sum() / lengths.sum())) * values["tokens_per_second"]
    return {**values, "peak_share": flops / matmul_peak(values["precision"], device)}


def _ours(typed: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    run = folder / "run"
    command = [sys.executable, str(SCRIPT), "--config", str(folder / "config.yaml"), "--output-dir", str(run)]
    (folder / "config.yaml").write_text(json.dumps(dict(typed)), encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [line["loss"] for line in lines if line["split"] == "train" and "learning_rate" in line]
    name = json.loads((run / "run.json").read_text(encoding="utf-8"))["primary_metric"]
    return {
        **{key: metrics["train"][key] for key in ("samples_per_second", "tokens_per_second", "peak_memory_mb")},
        "seconds": metrics["train"]["seconds"],
        "loss": float(np.mean(losses)),
        "metric": metrics["validation"][name],
        "metric_name": name,
        "precision": metrics["train"]["precision"],
    }


def _peer(side: str, typed: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    from accelerate import Accelerator

    from registry.benchmarking.peer import train_with_trainer
    from registry.training.precision import choose_precision
    from registry.training.setup import build_scorer

    choice = choose(typed, {})
    job: Job = assemble(choice, lambda text: None)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    chosen = choose_precision(choice.options.optimization.precision, "", device).name if side == "best" else "fp32"
    model, values = train_with_trainer(job, kind=side, precision=chosen, directory=folder / "trainer")
    accelerator = Accelerator(cpu=device.type == "cpu")
    metrics, _ = build_scorer(job, accelerator).score(model.to(accelerator.device), job.encoded["validation"])
    name, _ = job.task.selecting(job.head)
    return {**values, "metric": metrics[name], "metric_name": name, "precision": chosen}
