"""Seconds from SIGTERM to a complete checkpoint and to the end of a launched training, and what a checkpoint costs.

python tests/faults/stopping.py --config cpu --config cpu_ddp --update 20 --task sst2 --model roberta-base

The signal goes to the launcher alone, as a scheduler sends it. All options but the first two are those of
scripts/train.py, without --output-dir.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Stopped:
    """How a training ended that was asked to.

    Args:
        saved, ended: seconds from the signal to a complete checkpoint, and until no process is left.
        cost: seconds that a checkpoint took before, on average; `share`: of training that all of them took.
    """

    config: str
    saved: float
    ended: float
    cost: float
    share: float
    megabytes: float


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--update", default=20, show_default=True, help="Send the signal after this one.")
@click.option("--config", "configs", multiple=True, default=["cpu"], help="Files of accelerate_configs/.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def main(update: int, configs: Sequence[str], options: tuple[str, ...]) -> None:
    """Train, ask to stop, and print a table of how long it took."""
    click.echo("| launched with | SIGTERM to checkpoint | to the end | a checkpoint | of training | size |")
    click.echo("|---|---|---|---|---|---|")
    for config in configs:
        with tempfile.TemporaryDirectory() as folder:
            s = stop(Path(folder) / "run", config, update, options)
        cost = f"{s.cost:.3f} s | {s.share:.1%} | {s.megabytes:.1f} MiB"
        click.echo(f"| {config} | {s.saved:.2f} s | {s.ended:.2f} s | {cost} |")


def stop(
    run: Path, config: str, update: int, options: Sequence[str], number: signal.Signals = signal.SIGTERM
) -> Stopped:
    """Launch a training, send its launcher a signal after an update, and wait until no process of it is left."""
    process = launched(run, config, options)
    wait_for(lambda: last_update(run) >= update and checkpoints(run), process)
    everyone = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    before = checkpoints(run)
    process.send_signal(number)
    asked = time.monotonic()
    wait_for(lambda: checkpoints(run) - before)
    saved = time.monotonic() - asked
    wait_for(lambda: process.poll() is not None and not any(map(works, everyone)))
    ended = time.monotonic() - asked
    newest = max(checkpoints(run))
    state = json.loads((newest / "loop.json").read_text())["state"]
    size = sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())
    share = state["saving"] / (state["seconds"] + state["saving"])
    return Stopped(config, saved, ended, state["saving"] / len(before), share, size / 2**20)


def launched(run: Path, config: str, options: Sequence[str]) -> subprocess.Popen[bytes]:
    """A training as `accelerate launch` starts it; what it says goes to stderr."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--config_file"]
    command = [*launcher, str(ROOT / "accelerate_configs" / f"{config}.yaml"), str(ROOT / "scripts" / "train.py")]
    logged = ["--log-every", "1", "--keep", "10000", "--output-dir", str(run)]
    return subprocess.Popen([*command, *options, *logged], stdout=sys.__stderr__)


def checkpoints(run: Path) -> set[Path]:
    """The complete checkpoints of a run."""
    return set(run.glob("checkpoints/step-*"))


def last_update(run: Path) -> int:
    """The update of the last line of a run's log; -1 where there is none yet."""
    log = run / "metrics.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return int(json.loads(lines[-1])["update"]) if lines else -1


def works(process: psutil.Process) -> bool:
    """Whether a process has not ended; one that nobody asked for its exit status has."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def wait_for(happened: Callable[[], object], process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until something has happened; the training, where one is named, must not have ended before."""
    while not happened():
        assert process is None or process.poll() is None, "the training has ended"
        time.sleep(0.005)


if __name__ == "__main__":
    main()
