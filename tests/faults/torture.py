"""Random kills of real launches, over engines and kinds of training; prints a table of what survived.

make torture                       # or: python tests/faults/torture.py --kills 50 --only ddp
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
from faults.kit import ROOT, differences
from registry.run_directory import FINISHED, RunDirectory

SMALL = [
    *("--max-train-rows", "320", "--max-validation-rows", "64", "--max-test-rows", "32", "--epochs", "3"),
    *("--micro-batch-size", "8", "--evaluate-every", "7", "--log-every", "3", "--checkpoint-every", "4", "--keep", "2"),
]
CONFIGURATIONS: dict[str, tuple[str, list[str]]] = {
    "one process, fp32": ("", []),
    "one process, bf16": ("", ["--precision", "bf16"]),
    "one process, LoRA": ("", ["--lora-rank", "4"]),
    "one process, augmentation, patience": ("", ["--augment-delete", "0.2", "--patience", "4"]),
    "one process, masked LM": ("", ["--task", "demo-mlm"]),
    "DDP x 2, fp32": ("cpu_ddp", []),
    "ZeRO-1 x 2, fp32": ("deepspeed_zero1_cpu", []),
    "ZeRO-2 x 2, fp32": ("deepspeed_zero2_cpu", []),
    "ZeRO-3 x 2, fp32": ("deepspeed_zero3_cpu", []),
}
STARTING = 4.0
"""Seconds before which nothing has happened yet that a kill could harm."""


@click.command()
@click.option("--kills", default=50, show_default=True, help="Kills for each configuration.")
@click.option("--only", default="", help="Configurations whose name holds this text.")
@click.option("--seed", default=0, show_default=True)
def main(kills: int, only: str, seed: int) -> None:
    """Kill each configuration at random times until it has been killed so often; compare the ends."""
    draw = random.Random(seed)
    failed = False
    for name, (config, options) in CONFIGURATIONS.items():
        if only.lower() not in name.lower():
            continue
        with tempfile.TemporaryDirectory() as folder:
            tried, same = torture(Path(folder), config, options, kills, draw)
        failed |= tried != same
        click.echo(f"{name:40} {same}/{tried} kills survived bit for bit")
    sys.exit(failed)


def torture(folder: Path, config: str, options: Sequence[str], kills: int, draw: random.Random) -> tuple[int, int]:
    """(kills tried, kills after which the run ended as the whole one did)."""
    started = time.monotonic()
    assert launch(folder, config, [*options, "--output-dir", "whole"], None) == 0, tail(folder)
    length = time.monotonic() - started
    tried = same = number = 0
    while tried < kills:
        number += 1
        run, here = f"killed-{number}", 0
        while launch(folder, config, [*options, "--output-dir", run], draw.uniform(STARTING, length)) != 0:
            if RunDirectory(folder / run).status() == FINISHED:  # all was written; only the launcher was still there
                break
            here += 1
            if here == 3:  # then it may end in peace
                assert launch(folder, config, [*options, "--output-dir", run], None) == 0, tail(folder)
                break
        tried += here
        same += here * (not differences(folder / "whole", folder / run))
    return tried, same


def tail(folder: Path) -> str:
    """The last lines that the trainings have printed."""
    return (folder / "log").read_text(encoding="utf-8", errors="replace")[-4000:]


def launch(folder: Path, config: str, arguments: Sequence[str], kill_after: float | None) -> int:
    """Exit status of a launch; it and all that it started are killed after some seconds."""
    script = [str(ROOT / "scripts" / "train.py"), *SMALL, *arguments]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--config_file"]
    command = [*launcher, str(ROOT / "accelerate_configs" / f"{config}.yaml")] if config else [sys.executable]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "REGISTRY_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [*command, *script], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            return process.wait(kill_after)
        except subprocess.TimeoutExpired:
            kill_all(psutil.Process(process.pid))
            process.wait()
            return -signal.SIGKILL


def kill_all(launcher: psutil.Process) -> None:
    """Kill a launcher and its workers, which torchrun puts into sessions of their own, as a power cut does."""
    launcher.suspend()  # it starts no one and tells no one any more
    for process in [*launcher.children(recursive=True), launcher]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


if __name__ == "__main__":
    main()
