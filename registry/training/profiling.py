"""Where the time of an update goes: by kind of work, by operator, and as a trace for chrome://tracing."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from registry.inference import to_device
from registry.run_directory import PROFILE
from registry.training.engines import micro_step
from registry.training.window import TrainWindow

if TYPE_CHECKING:
    from torch.profiler import profile as Recording

    from registry.training.assembly import Job
    from registry.training.batches import Update
    from registry.training.setup import Setup

WARMUP, TIMED, RECORDED = 4, 12, 3
"""Updates that warm up, that are timed by kind of work, and that the profiler records."""

OPERATORS = 15
"""Rows of the table of operators."""


class Stopwatch:
    """Seconds by kind of work; on a GPU the device's queue is waited for, which makes whole updates a little slower."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.seconds[kind] += time.perf_counter() - started


def profile(job: Job, setup: Setup) -> list[tuple[str, str]]:
    """Rows for the terminal, and `profile/trace.json` in --output-dir. The weights are of no use afterwards.

    Raises:
        ValueError: there is nothing to train.
    """
    if setup.optimizer is None:
        raise ValueError("--profile: this model has nothing to train")
    for update in setup.updates.between(0, WARMUP):
        run_update(job, setup, update, Stopwatch(setup.accelerator.device))
    watch, tokens = Stopwatch(setup.accelerator.device), 0
    updates = setup.updates.between(WARMUP, WARMUP + TIMED)
    started = time.perf_counter()
    for _ in range(TIMED):
        with watch("waiting for batches"):
            update = next(updates)
        run_update(job, setup, update, watch)
        tokens += update.tokens
    whole = time.perf_counter() - started
    watch.seconds["the rest of the loop"] = whole - sum(watch.seconds.values())
    recorded, trace = record(job, setup, Path(job.options.run.output_dir or "runs") / PROFILE)
    return [
        ("an update", f"{1e3 * whole / TIMED:,.1f} ms, {tokens / whole:,.0f} tokens a second, {TIMED} updates timed"),
        *((kind, _share(seconds, whole, TIMED)) for kind, seconds in watch.seconds.items()),
        ("collating", f"{1e3 * collating(setup) / TIMED:,.1f} ms, in a thread beside the loop"),
        *operators(recorded),
        ("trace", f"{trace} (open it in chrome://tracing or ui.perfetto.dev)"),
        ("trained", "nothing (--profile)"),
    ]


def run_update(job: Job, setup: Setup, update: Update, watch: Stopwatch) -> None:
    """One update as training makes it, timed by kind of work."""
    accelerator, model = setup.accelerator, setup.model
    optimizer: Any = setup.optimizer
    window, clip_norm = TrainWindow(job.task, job.head, accelerator.device), job.options.optimization.clip_norm
    model.train()
    for number, batch in enumerate(update.micro_batches, start=1):
        last = number == len(update.micro_batches)
        with micro_step(accelerator, model, last=last):
            with watch("copying to the device"):
                batch = to_device(batch, accelerator.device)
            with watch("forward"):
                loss, outputs = setup.objective(model, batch)
            with watch("backward"):
                accelerator.backward(loss / update.examples)
                if last:
                    setup.exchange_gradients()
            with watch("clipping"):
                if last and clip_norm:
                    accelerator.clip_grad_norm_(model.parameters(), clip_norm)
            with watch("optimizer"):
                optimizer.step()
                optimizer.zero_grad()
        with watch("metrics of training batches"):
            window.add(outputs, batch, loss, job.task.count(batch))


def collating(setup: Setup) -> float:
    """Seconds that the timed updates take to collate, nothing else running."""
    started = time.perf_counter()
    for _ in setup.updates.between(WARMUP, WARMUP + TIMED):
        pass
    return time.perf_counter() - started


def record(job: Job, setup: Setup, folder: Path) -> tuple[Recording, Path]:
    """What torch's profiler saw of a few updates, and the trace that the first process wrote."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if setup.accelerator.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    updates = list(setup.updates.between(WARMUP, WARMUP + RECORDED))
    with torch.profiler.profile(activities=activities) as recorded:
        for update in updates:
            run_update(job, setup, update, Stopwatch(setup.accelerator.device))
    trace = folder / "trace.json"
    if setup.accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        recorded.export_chrome_trace(str(trace))
    return recorded, trace


def operators(recorded: Recording) -> list[tuple[str, str]]:
    """The operators that take the most time by themselves, on the device where there is one."""
    # An operator's time on a device is that of its kernels, which are listed once more, as the device's.
    averages = [e for e in recorded.key_averages() if e.device_type.name == "CPU"]
    on_device = any(event.self_device_time_total for event in averages)
    times = {e.key: (e.self_device_time_total if on_device else e.self_cpu_time_total, e.count) for e in averages}
    whole = sum(microseconds for microseconds, _ in times.values()) / 1e6
    longest = sorted(times.items(), key=lambda item: -item[1][0])[:OPERATORS]
    return [
        (name[:40], f"{_share(microseconds / 1e6, whole, RECORDED)} in {count / RECORDED:,.0f} calls")
        for name, (microseconds, count) in longest
    ]


def _share(seconds: float, whole: float, updates: int) -> str:
    return f"{1e3 * seconds / updates:9,.2f} ms {seconds / whole:6.1%}"
