"""Trainings as a launcher starts them, many times over without paying for the imports each time.

The first training is really launched: its processes' environments are taken down. Later ones are forks of this
process, which has imported everything heavy already, in those environments.
"""

from __future__ import annotations

import gc
import importlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import psutil

from faults.children import TRAIN, start

ROOT = Path(__file__).parents[2]
HEAVY = (
    *("accelerate", "datasets", "deepspeed", "matplotlib.pyplot", "peft", "sklearn.metrics", "tensorboard"),
    *("torch.utils.tensorboard", "torch.distributed.tensor", "transformers.models.bert.modeling_bert"),
)
AGENT_STORE = "TORCHELASTIC_USE_AGENT_STORE"
"""Says that torchrun, which is not there for a fork, keeps the store where the processes meet."""
POLL = 0.02


def prepare(folder: Path) -> None:
    """Import what every training needs and is not this project's, which watches its launcher from its import on."""
    os.environ |= {
        "PYTHONPATH": str(ROOT),
        "REGISTRY_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "DS_ACCELERATOR": "cpu",
    }
    for name in HEAVY:
        importlib.import_module(name)
    gc.freeze()  # no fork looks through, and copies, what was made here


def launch(folder: Path, config: str, arguments: Sequence[str], run: str) -> tuple[list[dict[str, str]], float]:
    """Train to the end; what each process was started with, by rank, and how long the first one worked for it.

    That is processor time from the moment when it has locked the run directory until the final metrics stand.

    Args:
        config: a file of accelerate_configs/, for `accelerate launch`; without one, Python alone.
    """
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--config_file"]
    command = [*launcher, str(ROOT / "accelerate_configs" / f"{config}.yaml")] if config else [sys.executable]
    with log(folder).open("ab") as output:
        process = subprocess.Popen(
            [*command, str(TRAIN), *arguments, "--output-dir", run], cwd=folder, stdout=output, stderr=output
        )
        while process.poll() is None and locked_by(folder / run) is None:
            time.sleep(POLL)
        environments = environments_of(psutil.Process(process.pid))
        first = psutil.Process(locked_by(folder / run))
        started = used(first)
        while process.poll() is None and not (folder / run / "metrics.json").exists():
            time.sleep(POLL)
        seconds = used(first) - started
        assert process.wait() == 0, tail(folder)
    return environments, seconds


def environments_of(launcher: psutil.Process) -> list[dict[str, str]]:
    """What the processes of a training were started with, by rank."""
    found = [process.environ() for process in [launcher, *launcher.children(recursive=True)]]
    by_rank = {int(environment["RANK"]): environment for environment in found if "RANK" in environment}
    return [by_rank[rank] for rank in sorted(by_rank)] or found[:1]


def fork(folder: Path, environments: Sequence[Mapping[str, str]], arguments: Sequence[str], run: str) -> list[int]:
    """Start the processes of a training; their ids by rank."""
    arguments, port = [*arguments, "--output-dir", run], free_port()
    return [start(arguments, partial(_enter, folder, {**given, "MASTER_PORT": port})) for given in environments]


def _enter(folder: Path, environment: Mapping[str, str]) -> None:
    """Be where, and what, a launched process would be."""
    output = os.open(log(folder), os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.chdir(folder)
    os.environ.clear()
    os.environ.update({name: value for name, value in environment.items() if name != AGENT_STORE})
    without_report()


def without_report() -> None:
    """Leave the report's drawings out: half of a small training's time, and nothing that is compared."""
    from registry import reports

    reports.write_all = lambda directory, say: None


def ended(child: int, patience: float | None = None) -> int | None:
    """Exit status of a child, negative for a signal; None where it has not ended after `patience` seconds."""
    if patience is None:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    until = time.monotonic() + patience
    while True:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            return None
        time.sleep(POLL)


def work(child: int, seconds: float) -> int | None:
    """Let a child take so much more processor time, in which it gets as far on a busy machine as on an idle one.

    Returns its exit status where it ended before.
    """
    process = psutil.Process(child)
    until = used(process) + seconds
    while (status := ended(child, POLL)) is None and used(process) < until:
        pass
    return status


def used(process: psutil.Process) -> float:
    """Processor time that a process has taken."""
    times = process.cpu_times()
    return float(times.user + times.system)


def locked_by(run: Path) -> int | None:
    """The process that has locked a run directory, or had."""
    lock = run / ".lock"
    text = lock.read_text(encoding="utf-8") if lock.exists() else ""
    return int(text) if text.isdecimal() else None


def free_port() -> str:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def log(folder: Path) -> Path:
    """Where the trainings of a folder say what they say."""
    return folder / "log"


def tail(folder: Path) -> str:
    """The last lines that the trainings of a folder have printed."""
    return log(folder).read_text(encoding="utf-8", errors="replace")[-4000:]
