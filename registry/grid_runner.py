"""Running the cells of a grid, each as a process of its own: resumable, finished ones skipped, failures alone.

A cell's directory is named after its options, so a grid can be given again, widened or changed: what
is finished is kept, what was interrupted continues, what is new is trained. This module imports no torch.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from registry.grids import Cell, prerequisites
from registry.run_directory import FINISHED, RunDirectory

DONE, KEPT, FAILED = "done", "kept", "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: "done" now, "kept" from before, or "failed" with a reason in one line."""

    cell: Cell
    directory: Path
    state: str
    seconds: float = 0.0
    reason: str = ""


class Launched:
    """The launchers that are running, which can be stopped together."""

    def __init__(self) -> None:
        self.stopped = False
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def wait(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> int:
        """Exit code of the command, which adds to the log; -1 where all was stopped before it began."""
        with log.open("ab") as output:  # another comparison may be training this cell
            with self._lock:
                if self.stopped:
                    return -1
                process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
                self._running.add(process)
            code = process.wait()
            self._running.discard(process)
        return code

    def stop(self) -> None:
        """Ask everything that runs to save and leave, begin nothing else, and wait until it has left.

        The children of a launcher are asked: it would die of the signal and leave them behind.
        """
        with self._lock:
            self.stopped = True
            running = [*self._running]
        for process in running:
            for asked in _children(process.pid) or [process]:
                with suppress(psutil.NoSuchProcess):
                    asked.terminate()
        for process in running:
            process.wait()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


@dataclass(frozen=True)
class Runner:
    """Where cells are run and how.

    Args:
        output: the comparison's directory; runs go to `runs/`, what they print to `logs/`.
        launch: the command that `--config FILE --output-dir DIR` is appended to.
        devices: values of CUDA_VISIBLE_DEVICES, one cell at a time on each; None leaves it alone.
    """

    output: Path
    launch: Sequence[str]
    devices: Sequence[str | None] = (None,)
    _launched: Launched = field(default_factory=Launched, init=False, repr=False, compare=False)

    def run(self, cells: Sequence[Cell], report: Callable[[Outcome], None]) -> list[Outcome]:
        """Run every cell, those that others start from first; `report` hears of each as it ends.

        An exception in the main thread, such as KeyboardInterrupt, asks the runs to save and leave before it goes on.
        """
        first = {outcome.cell.slug: outcome for outcome in self._run_all(prerequisites(cells), {}, report)}
        return self._run_all(cells, first, report)

    def directory(self, cell: Cell) -> Path:
        """Where the cell's run lies."""
        return self.output / "runs" / cell.slug

    def state(self, cell: Cell) -> str:
        """ "finished", "begun" or "waiting"."""
        directory = self.directory(cell)
        return "finished" if finished(directory) else "begun" if directory.exists() else "waiting"

    def _run_all(
        self, cells: Iterable[Cell], first: dict[str, Outcome], report: Callable[[Outcome], None]
    ) -> list[Outcome]:
        free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        for device in self.devices:
            free.put(device)

        def work(cell: Cell) -> Outcome:
            device = free.get()
            try:
                outcome = self._run_one(cell, first.get(cell.after.slug) if cell.after else None, device)
            finally:
                free.put(device)
            if not self._launched.stopped:
                report(outcome)
            return outcome

        with ThreadPoolExecutor(len(self.devices)) as pool:
            waiting = [pool.submit(work, cell) for cell in cells]
            try:
                return [future.result() for future in waiting]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._launched.stop()
                raise

    def _run_one(self, cell: Cell, before: Outcome | None, device: str | None) -> Outcome:
        directory = self.directory(cell)
        if before is not None and before.state == FAILED:
            return Outcome(cell, directory, FAILED, reason=f"the run that it starts from failed: {before.reason}")
        if finished(directory):
            return Outcome(cell, directory, KEPT)
        options = {**cell.options, **({"model": str(before.directory / "model")} if before else {})}
        config, log = self.output / "cells" / f"{cell.slug}.yaml", self.output / "logs" / f"{cell.slug}.log"
        _write_yaml(config, options)
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **({} if device is None else {"CUDA_VISIBLE_DEVICES": device})}
        command = [*self.launch, "--config", str(config), "--output-dir", str(directory)]
        printed, started = log.stat().st_size if log.exists() else 0, time.monotonic()
        code = self._launched.wait(command, environment, log)
        seconds = time.monotonic() - started
        if code == 0 and finished(directory):
            return Outcome(cell, directory, DONE, seconds)
        return Outcome(cell, directory, FAILED, seconds, f"exit code {code}: {last_words(log, printed)} (see {log})")


def finished(directory: Path) -> bool:
    """Whether a run ended there and left its results."""
    run = RunDirectory(directory)
    try:
        return run.status() == FINISHED and run.metrics_json.is_file()
    except ValueError:
        return False


def last_words(log: Path, start: int = 0) -> str:
    """The line of a log, from byte `start` on, that says why: the last "error: …", which launchers follow with errors
    of theirs, else the last exception, else the last line."""
    text = log.read_bytes()[start:].decode("utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("error:")]
    raised = [line for line in lines if line.partition(":")[0].endswith("Error")]
    return (said or raised or lines or ["it printed nothing"])[-1][:300]


def _write_yaml(path: Path, values: dict[str, Any]) -> None:
    import yaml

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), encoding="utf-8")
