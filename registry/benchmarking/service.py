"""A run behind scripts/serve.py under load: with and without micro-batching, beside offline, and overloaded.

Clients and service share this machine's cores, so that every figure is what is left beside the load's own work.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from registry.serving.load import MOST_CLIENTS, MOST_REQUESTS, put_load

START_SECONDS = 120.0
OVERLOAD = 10
TEXTS = 512


def texts_of(run: Path, file: str | None) -> list[str]:
    """Texts to send: the lines of `file`, else of the run's saved validation predictions.

    Raises:
        ValueError: neither is there.
    """
    try:
        if file is not None:
            texts = Path(file).read_text(encoding="utf-8").splitlines()
        else:
            lines = (run / "predictions" / "validation.jsonl").read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines]
            texts = [row["text"] if "text" in row else row["question"] for row in rows]
    except (OSError, KeyError) as error:
        raise ValueError(f"{file or run}: no texts to send ({error}); give a file of lines with --file") from None
    return [text for text in texts if text.strip()][:TEXTS]


def measure_service(
    command: Sequence[str], texts: Sequence[str], clients: Sequence[int], *, seconds: float, requests: int
) -> list[dict[str, Any]]:
    """One row for each way of serving and number of clients: requests/s, p50 and p99 (seconds), statuses."""
    rows = []
    for batching in (True, False):
        with served([*command, "--batching" if batching else "--no-batching"]) as (address, _):
            for number in clients:
                bodies = _bodies(texts)
                found = put_load(address, "/predict", bodies, clients=number, requests=requests, seconds=seconds)
                rows.append(
                    {
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
    command: Sequence[str], texts: Sequence[str], slots: int, *, calm: float, seconds: float
) -> dict[str, Any]:
    """A service at its limit, with as many clients as it has slots, and then asked for ten times what it answered.

    Args:
        slots: requests that are taken at the same time (`--max-requests`).
        calm, seconds: how long it is at its limit, and how long overloaded.

    Returns:
        `limit` and `overload` (`LoadResult`) and the service's resident MiB before, between and after, in `memory`.
    """
    with served([*command, "--max-requests", str(slots)]) as (address, process):
        memory = [_megabytes(process)]
        limit = put_load(address, "/predict", _bodies(texts), clients=slots, requests=MOST_REQUESTS, seconds=calm)
        memory.append(_megabytes(process))
        overload = put_load(
            address,
            "/predict",
            _bodies(texts),
            clients=min(OVERLOAD * slots, MOST_CLIENTS),
            requests=MOST_REQUESTS,
            seconds=seconds,
            rate=OVERLOAD * limit.requests_per_second,
        )
        memory.append(_megabytes(process))
    return {"limit": limit, "overload": overload, "memory": memory}


def measure_offline(run: Path, texts: Sequence[str], *, seconds: float) -> float:
    """Texts a second that `predict.py` answers: the same texts again and again, in chunks as it reads them."""
    from registry.runs import load_run

    loaded = load_run(run)
    chunk = (list(texts) * (1 + 4096 // len(texts)))[:4096]
    loaded.predict(chunk[:256])
    started, answered = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        answered += len(loaded.predict(chunk))
    return answered / (time.perf_counter() - started)


def _bodies(texts: Sequence[str]) -> list[dict[str, object]]:
    return [{"texts": [text]} for text in texts]


def _megabytes(process: subprocess.Popen[bytes]) -> float:
    return float(psutil.Process(process.pid).memory_info().rss) / 2**20


@contextlib.contextmanager
def served(command: Sequence[str]) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address and the process of a service that is ready; it is ended afterwards.

    Raises:
        ValueError: it did not become ready.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_SECONDS
        while not _ready(address):
            if process.poll() is not None or time.monotonic() > until:
                raise ValueError(f"the service did not start: {' '.join(command)}")
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
