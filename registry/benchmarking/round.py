"""One round of one side: train, score validation in the same way, and say how fast it went."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from registry.benchmarking.cases import Case

ROOT = Path(sys.argv[0]).absolute().parents[1]


def measure(side: str, case: Case, seed: int) -> dict[str, Any]:
    """Figures of one training, in processes of its own (`run_round`).

    Raises:
        ValueError: it failed, with the end of what it said.
    """
    from registry.training.processor import usable_cores

    alone = [sys.executable]
    together = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(case.processes)]
    environment = {**os.environ}
    if side != "ours" and case.processes > 1:  # torchrun's own choice, one thread, would be unfair to it
        environment.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // case.processes)))
    with tempfile.TemporaryDirectory() as folder:
        request, answer = Path(folder) / "request.json", Path(folder) / "answer.json"
        values = {"options": {**case.options, "seed": seed}, "processes": case.processes}
        request.write_text(json.dumps(values), encoding="utf-8")
        launch = together if side != "ours" and case.processes > 1 else alone
        command = [*launch, sys.argv[0], "worker", side, str(request), str(answer)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode or not answer.is_file():
            raise ValueError(f"{case.name}: {side} failed: {' '.join(done.stderr.split())[-600:]}")
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return found


def run_round(side: str, typed: Mapping[str, Any], processes: int, folder: Path) -> dict[str, Any]:
    """Figures of one training: speed, memory, share of the measured matmul peak, loss, the task's metric.

    Where several processes train with `Trainer`, all call it and the first one has the figures.

    Raises:
        ValueError: the options are wrong.
        RuntimeError: our own training failed.
    """
    import torch

    from registry.benchmarking.peak import flops_per_token, matmul_peak
    from registry.training.assembly import assemble, choose

    values = _ours(typed, processes, folder) if side == "ours" else _peer(side, typed, folder)
    if int(os.environ.get("RANK", "0")):
        return {}
    if "RANK" in os.environ:  # one of several processes: the peak is that of all cores
        torch.set_num_threads(torch.get_num_threads() * processes)
    job = assemble(choose({**typed, "epochs": 0.0}, {}), lambda text: None)
    lengths = job.encoded["train"].lengths.astype(np.float64)
    module = job.spec.build(job.head, job.tokenizer, job.choice.source)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    flops = flops_per_token(module, float((lengths**2).sum() / lengths.sum())) * values["tokens_per_second"]
    devices = processes if device.type != "cpu" else 1  # a CPU's peak is that of all its cores
    return {**values, "peak_share": flops / (devices * matmul_peak(values["precision"], device))}


def _ours(typed: Mapping[str, Any], processes: int, folder: Path) -> dict[str, Any]:
    import torch

    run = folder / "run"
    launch = [sys.executable]
    if processes > 1:
        config = "multi_gpu" if torch.cuda.is_available() else "cpu_ddp"
        file = ROOT / "accelerate_configs" / f"{config}.yaml"
        launch += ["-m", "accelerate.commands.launch", "--config_file", str(file), "--num_processes", str(processes)]
    script = str(ROOT / "scripts" / "train.py")
    command = [*launch, script, "--config", str(folder / "config.yaml"), "--output-dir", str(run)]
    (folder / "config.yaml").write_text(json.dumps(dict(typed)), encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [line["loss"] for line in lines if line["split"] == "train" and "learning_rate" in line]
    name = json.loads((run / "run.json").read_text(encoding="utf-8"))["primary_metric"]
    keys = ("samples_per_second", "tokens_per_second", "peak_memory_mb", "seconds", "precision")
    return {
        **{key: metrics["train"][key] for key in keys},
        "loss": float(np.mean(losses)),
        "metric": metrics["validation"][name],
        "metric_name": name,
    }


def _peer(side: str, typed: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    import torch
    from accelerate import Accelerator

    from registry.benchmarking.peer import train_with_trainer
    from registry.training.assembly import Job, assemble, choose
    from registry.training.control import Control
    from registry.training.precision import choose_precision
    from registry.training.setup import build_scorer

    choice = choose(typed, {})
    job: Job = assemble(choice, lambda text: None)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    chosen = choose_precision(choice.options.optimization.precision, "", device).name if side == "best" else "fp32"
    model, values = train_with_trainer(job, kind=side, precision=chosen, directory=folder / "trainer")
    accelerator = Accelerator(cpu=device.type == "cpu")
    scorer = build_scorer(job, accelerator, Control())
    metrics, _ = scorer.score(model.to(accelerator.device), job.encoded["validation"])
    name, _ = job.task.selecting(job.head)
    accelerator.end_training()
    return {**values, "metric": metrics[name], "metric_name": name, "precision": chosen}
