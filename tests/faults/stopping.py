"""Seconds from SIGTERM to a complete checkpoint and to the end of a launched training, and what a checkpoint costs.

python tests/faults/stopping.py --update 20 --config cpu_ddp --task sst2 --model bert-base-uncased --checkpoint-every 10

All options but the first two are those of scripts/train.py, without --output-dir.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import psutil

ROOT = Path(__file__).parents[2]


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--update", default=20, show_default=True, help="Send the signal after this one.")
@click.option("--config", default="", help="A file of accelerate_configs/; one process where none is named.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def main(update: int, config: str, options: tuple[str, ...]) -> None:
    """Train, ask to stop, and say how long it took."""
    configured = ["--config_file", str(ROOT / "accelerate_configs" / f"{config or 'cpu'}.yaml")]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", *configured]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        logged = ["--log-every", "1", "--output-dir", str(run)]
        process = subprocess.Popen([*launcher, str(ROOT / "scripts" / "train.py"), *options, *logged])
        wait_for(lambda: last_update(run) >= update, process)
        first = int((run / ".lock").read_text())
        before = set(run.glob("checkpoints/step-*"))
        process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        wait_for(lambda: bool(set(run.glob("checkpoints/step-*")) - before), None)
        saved = time.monotonic() - asked
        wait_for(lambda: not psutil.pid_exists(first), None)  # the launcher may be gone before
        process.wait()
        ended = time.monotonic() - asked
        newest = max(run.glob("checkpoints/step-*"))
        state = json.loads((newest / "loop.json").read_text())["state"]
        size = sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())
    click.echo(f"SIGTERM after update {update}: a complete checkpoint of {size / 2**20:.1f} MiB after {saved:.2f} s,")
    click.echo(f"the end after {ended:.2f} s; {len(before)} checkpoints before it took {state['saving']:.2f} s")


def last_update(run: Path) -> int:
    """The update of the last line of a run's log; -1 where there is none yet."""
    log = run / "metrics.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return int(json.loads(lines[-1])["update"]) if lines else -1


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[bytes] | None) -> None:
    """Wait until something has happened; the training must not have ended before."""
    while not happened():
        assert process is None or process.poll() is None, "the training has ended"
        time.sleep(0.005)


if __name__ == "__main__":
    main()
