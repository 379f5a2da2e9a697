"""A run behind scripts/serve.py under load: with and without micro-batching, beside offline, and overloaded.

Clients and service share this machine's cores, so that every figure is what is left beside the load's own work.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from registry.run_directory import RunDirectory
from registry.runs import load_run, read_record, registered
from registry.serving.load import MOST_CLIENTS, MOST_REQUESTS, put_load
from registry.serving.service import Item

START_SECONDS = 120.0
OVERLOAD = 10
TEXTS = 512
CHUNK = 1024
"""Texts that are answered offline between two looks at the clock; predict.py's own chunks are no faster."""


def items_of(run: Path, file: str | None) -> list[Item]:
    """What to send: the lines of `file`, else what the task reads of the run's saved validation predictions.

    Raises:
        ValueError: neither is there, or it is empty, or the task reads more of a row than a line can hold.
    """
    directory = RunDirectory(run)
    task, _ = registered(read_record(directory))
    names = list(task.inputs())
    if file is not None and len(names) > 1:
        raise ValueError(f"--file {file}: a line is one text, and this run reads {' and '.join(names)}; leave it out")
    path = Path(file) if file is not None else directory.predictions / "validation.jsonl"
    items: list[Item] = []
    try:
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line.strip():
                items.append(line if file is not None else {name: json.loads(line)[name] for name in names})
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: no texts to send ({error}); give a file of lines with --file") from None
    if not items:
        raise ValueError(f"{path}: no texts to send (it is empty); give a file of lines with --file")
    return items[:TEXTS]


def measure_service(
    command: Sequence[str],
    items: Sequence[Item],
    clients: Sequence[int],
    offline: Callable[[], float],
    *,
    seconds: float,
    requests: int,
) -> list[dict[str, Any]]:
    """One row for each way of serving and number of clients: requests/s, p50 and p99 (seconds), statuses.

    Args:
        offline: measures the offline rate. Each load has its own, the mean of right before and right after it: a
            machine that others use, too, is not as fast from one minute to the next.
    """
    rows, before = [], offline()
    for batching in (True, False):
        with served([*command, "--batching" if batching else "--no-batching"]) as (address, _):
            for number in clients:
                bodies = _bodies(items)
                found = put_load(address, "/predict", bodies, clients=number, requests=requests, seconds=seconds)
                before, last = offline(), before
                rows.append(
                    {
                        "offline": (last + before) / 2,
                        "batching": batching,
                        "clients": number,
                        "requests_per_second": found.requests_per_second,
                        "p50": found.percentile(50),
                        "p99": found.percentile(99),
                        "statuses": dict(found.statuses),
                    }
                )
    return rows


def measure_overload(
    command: Sequence[str], items: Sequence[Item], slots: int, *, calm: float, seconds: float
) -> dict[str, Any]:
    """A service at its limit, with as many clients as it has slots, and then asked for ten times what it answered.

    Args:
        slots: requests that are taken at the same time (`--max-requests`).
        calm, seconds: how long it is at its limit, and how long overloaded.

    Returns:
        `limit` and `overload` (`LoadResult`) and the service's resident MiB before, between, in the middle of the
        overload and after it, in `memory`.
    """
    with served([*command, "--max-requests", str(slots)]) as (address, process):
        memory = [_megabytes(process)]
        limit = put_load(address, "/predict", _bodies(items), clients=slots, requests=MOST_REQUESTS, seconds=calm)
        memory.append(_megabytes(process))
        middle = threading.Timer(seconds / 2, lambda: memory.append(_megabytes(process)))
        middle.start()
        overload = put_load(
            address,
            "/predict",
            _bodies(items),
            clients=min(OVERLOAD * slots, MOST_CLIENTS),
            requests=MOST_REQUESTS,
            seconds=seconds,
            rate=OVERLOAD * limit.requests_per_second,
        )
        middle.join()
        memory.append(_megabytes(process))
    return {"limit": limit, "overload": overload, "memory": memory}


def offline_rate(run: Path, items: Sequence[Item], *, seconds: float) -> Callable[[], float]:
    """Measures the texts a second that `predict.py` answers: the same ones again and again, many at a time."""
    loaded = load_run(run)
    chunk = (list(items) * (1 + CHUNK // len(items)))[:CHUNK]
    loaded.predict(chunk[:256])

    def measure() -> float:
        started, answered = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            answered += len(loaded.predict(chunk))
        return answered / (time.perf_counter() - started)

    return measure


def _bodies(items: Sequence[Item]) -> list[dict[str, object]]:
    return [{"texts": [item]} for item in items]


def _megabytes(process: subprocess.Popen[bytes]) -> float:
    return float(psutil.Process(process.pid).memory_info().rss) / 2**20


@contextlib.contextmanager
def served(command: Sequence[str]) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address and the process of a service that is ready; it is ended afterwards.

    Raises:
        ValueError: it did not become ready; says the last line that it wrote.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=said)
        try:
            until = time.monotonic() + START_SECONDS
            while not _ready(address):
                if process.poll() is not None or time.monotonic() > until:
                    said.seek(0)
                    lines = said.read().decode(errors="replace").split("\n")
                    last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
                    raise ValueError(f"{' '.join(command)}: the service did not start: {last.strip()}")
                time.sleep(0.2)
            yield address, process
        finally:
            process.terminate()
            process.wait(30)


def _ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
