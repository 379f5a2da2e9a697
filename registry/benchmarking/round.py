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
from registry.run_log import flat_values, read_log

ROOT = Path(sys.argv[0]).absolute().parents[1]
SAMPLE = 64
"""Examples from which is known how many items of a token are scored."""
TEST_ROWS = 2
"""Our side scores test rows when its clock has stopped; nobody looks at them."""


def measure(side: str, case: Case, seed: int) -> dict[str, Any]:
    """Figures of one training, in processes of its own (`run_round`).

    Raises:
        ValueError: it failed, with the end of what it said.
    """
    alone = [sys.executable]
    together = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(case.processes)]
    environment = {**os.environ}
    if case.processes == 1:  # Trainer would take every GPU that it sees, and as many times the batch
        environment["CUDA_VISIBLE_DEVICES"] = environment.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    with tempfile.TemporaryDirectory() as folder:
        request, answer = Path(folder) / "request.json", Path(folder) / "answer.json"
        values = {"options": {"max_test_rows": TEST_ROWS, **case.options, "seed": seed}, "processes": case.processes}
        request.write_text(json.dumps(values), encoding="utf-8")
        launch = together if side != "ours" and case.processes > 1 else alone
        command = [*launch, sys.argv[0], "worker", side, str(request), str(answer)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode or not answer.is_file():
            said = [line for line in done.stderr.splitlines() if line.startswith("error: ")] or [done.stderr]
            raise ValueError(f"{case.name}: {side} failed: {' '.join(said[-1].removeprefix('error: ').split())[-600:]}")
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return found


def profile(case: Case) -> str:
    """What `train.py --profile` shows of a case, on one process.

    Raises:
        ValueError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _train(case.options, 1, Path(folder), "--profile")


def run_round(side: str, typed: Mapping[str, Any], processes: int, folder: Path) -> dict[str, Any]:
    """Figures of one training: speed, memory, share of the measured matmul peak, loss, the task's metric.

    Where several processes train with `Trainer`, all call it and the first one has the figures.

    Raises:
        ValueError: the options are wrong, or our own training failed.
    """
    import torch

    from registry.benchmarking.peak import matmul_peak
    from registry.training.processor import suit_threads, usable_cores

    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    if device.type == "cpu":
        suit_threads()  # as train.py does
    values = _ours(typed, processes, folder) if side == "ours" else _peer(side, typed, folder, device)
    if int(os.environ.get("RANK", "0")):
        return {}
    devices = processes
    if device.type == "cpu":  # one device, whose peak is that of all cores that trained
        devices = 1
        torch.set_num_threads(min(usable_cores(), processes * torch.get_num_threads()))
    peak = devices * matmul_peak(values["precision"], device)
    return {**values, "peak_share": _flops_per_second(typed, values) / peak}


def _flops_per_second(typed: Mapping[str, Any], values: Mapping[str, Any]) -> float:
    """What training multiplied: the same for each token on both sides, whatever they computed beside it."""
    from registry.benchmarking.peak import flops_per_token
    from registry.models.last_layer import spared_parameters
    from registry.training.assembly import assemble, choose
    from registry.training.setup import build_module

    job = assemble(choose(typed, {}), lambda text: None)
    train, module = job.encoded["train"], build_module(job)
    spared = spared_parameters(module) if job.spec.spare_last_layer(module) else ()
    lengths = train.lengths.astype(np.float64)
    some = train.rows(range(min(SAMPLE, len(train))))
    scored = job.task.count(job.task.collate(some, job.tokenizer, (job.options.run.seed, 0)))
    each = flops_per_token(
        module,
        job.spec.layer_map(module),
        length=float((lengths**2).sum() / lengths.sum()),
        scored_per_token=scored / float(lengths[: len(some)].sum()),
        spared=spared,
    )
    return each * float(values["tokens_per_second"])


def _ours(typed: Mapping[str, Any], processes: int, folder: Path) -> dict[str, Any]:
    _train(typed, processes, folder)
    return figures_of_run(folder / "run")


def _train(typed: Mapping[str, Any], processes: int, folder: Path, *more: str) -> str:
    """What `train.py` writes with these options, its run in `folder`/run."""
    import torch

    launch = [sys.executable]
    if processes > 1:
        config = "multi_gpu" if torch.cuda.is_available() else "cpu_ddp"
        file = ROOT / "accelerate_configs" / f"{config}.yaml"
        launch += ["-m", "accelerate.commands.launch", "--config_file", str(file), "--num_processes", str(processes)]
    script = str(ROOT / "scripts" / "train.py")
    command = [*launch, script, "--config", str(folder / "config.yaml"), "--output-dir", str(folder / "run"), *more]
    (folder / "config.yaml").write_text(json.dumps(dict(typed)), encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr[-2000:])
    return done.stdout


def figures_of_run(run: Path) -> dict[str, Any]:
    """What a run directory says of its training, with the metric of the last weights, which Trainer has, too."""
    metrics, record = (json.loads((run / f"{name}.json").read_text(encoding="utf-8")) for name in ("metrics", "run"))
    lines = read_log(run)
    trained = [line for line in lines if line["split"] == "train" and "learning_rate" in line]
    updates = np.diff([0, *(line["update"] for line in trained)])  # that a logged loss is the mean of
    last = [line for line in lines if line["split"] == "validation"][-1]
    keys = ("samples_per_second", "tokens_per_second", "peak_memory_mb", "seconds", "precision")
    return {
        **{key: metrics["train"][key] for key in keys},
        "updates": metrics["updates"],
        "loss": float(np.average([line["loss"] for line in trained], weights=updates)),
        "metric": dict(flat_values(last))[record["primary_metric"]],
        "metric_name": record["primary_metric"],
    }


def _peer(side: str, typed: Mapping[str, Any], folder: Path, device: Any) -> dict[str, Any]:
    from registry.benchmarking.peer import train_with_trainer
    from registry.training.assembly import assemble, choose
    from registry.training.precision import choose_precision

    choice = choose(typed, {})
    precision = choose_precision(choice.options.optimization.precision, "", device).name if side == "best" else "fp32"
    job = assemble(choice, lambda text: None)
    return train_with_trainer(job, kind=side, precision=precision, directory=folder / "trainer")
