"""A fault in one of two processes ends both within seconds, says what it was, and loses nothing."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest
from faults.kit import ROOT

from registry.training.checkpoints import damage

SMALL = [
    *("--max-train-rows", "128", "--max-validation-rows", "32", "--max-test-rows", "32", "--epochs", "2"),
    *("--evaluate-every", "4", "--log-every", "2", "--checkpoint-every", "2", "--output-dir", "run"),
]
SECONDS = 60
"""In which all processes have ended: some on an idle machine, more where many tests run at once."""


def train(folder, config, *fault, options=()):
    """(exit status, what was said, seconds from the fault to the end) of a launch with two processes."""
    script = [ROOT / "tests" / "faults" / "one_rank.py", *fault] if fault else [ROOT / "scripts" / "train.py"]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--config_file"]
    command = [*launcher, ROOT / "accelerate_configs" / f"{config}.yaml", *script, *SMALL, *options]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "REGISTRY_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    with (folder / "log").open("w") as log:
        status = subprocess.run([str(word) for word in command], cwd=folder, env=environment, stdout=log, stderr=log)
    last = max(path.stat().st_mtime for path in (folder / "run").rglob("*"))
    return status.returncode, (folder / "log").read_text(), time.time() - last


def errors(said):
    return [line for line in said.splitlines() if line.startswith("error: ")]


def complete(folder):
    found = sorted((folder / "run" / "checkpoints").glob("step-*"))
    assert [damage(path) for path in found] == [None] * len(found)
    return [path.name for path in found]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "fault", "phase", "message"),
    [
        (0, "SIGKILL", "after-update", None),  # nobody is left whose line is shown
        (1, "SIGKILL", "after-update", "another process of this run has ended without a word"),
        (1, "memory", "after-update", "process 1 of this run has ended: memory ran out; "),
        (1, "error", "after-update", "process 1 of this run has ended: row 7 has no label"),
        (1, "nan", "after-update", "loss or gradients are not finite at update 5 (epoch 1.25); nothing was saved"),
        (1, "inf", "mid-accumulation", "loss or gradients are not finite at update 5 (epoch 1.25); nothing was saved"),
    ],
)
def test_the_other_process_ends_and_says_why(tmp_path, rank, fault, phase, message):
    status, said, seconds = train(tmp_path, "cpu_ddp", rank, fault, phase, 5)
    assert status != 0
    assert len(errors(said)) == (message is not None), said[-3000:]
    assert all(message in line for line in errors(said))
    assert seconds < SECONDS
    assert complete(tmp_path) == ["step-00000002", "step-00000004"]
    assert not [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(tmp_path)]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_full_disk_under_deepspeed_is_said_and_loses_nothing(tmp_path):
    status, said, seconds = train(tmp_path, "deepspeed_zero2_cpu", 1, "full", "checkpoint", 2)
    assert status != 0
    assert [line for line in errors(said) if "checkpoint 4 could not be written" in line] == errors(said) != [], said
    assert seconds < SECONDS
    assert complete(tmp_path) == ["step-00000002"]
    assert train(tmp_path, "deepspeed_zero2_cpu")[0] == 0


@pytest.mark.slow
def test_training_goes_on_where_that_is_asked_for(tmp_path):
    fault = (1, "full", "checkpoint", 2)
    status, said, _ = train(tmp_path, "deepspeed_zero2_cpu", *fault, options=("--save-failure", "continue"))
    assert status == 0, said[-3000:]
    assert "checkpoint 4 could not be written" in said
    assert "the older ones stand" in said
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
    assert complete(tmp_path) == ["step-00000002"]
    checkpoint = tmp_path / "run" / "checkpoints" / "step-00000002"
    files = json.loads((checkpoint / "manifest.json").read_text())["files"]
    shards = [f"deepspeed/zero_pp_rank_{rank}_mp_rank_00_optim_states.pt" for rank in (0, 1)]
    ranks = [f"{name}-{rank}.safetensors" for name in ("random", "window") for rank in (0, 1)]
    assert {*shards, "deepspeed/mp_rank_00_model_states.pt", *ranks, "loop.json", "schedule.json"} <= files.keys()
    for path in map(checkpoint.joinpath, files):
        content = path.read_bytes()
        middle = len(content) // 2
        for harmed in (content[:-1], content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :], b""):
            path.write_bytes(harmed)
            assert path.name in damage(checkpoint)
        path.write_bytes(content)
    assert damage(checkpoint) is None
