"""Load on a service of this machine: many clients over kept connections, bounded in count and time."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

try:
    from uvloop import run
except ImportError:  # Windows has none
    from asyncio import run  # type: ignore[assignment]

MOST_REQUESTS, MOST_SECONDS, MOST_CLIENTS = 1_000_000, 120.0, 4096


@dataclass
class LoadResult:
    """What a load brought.

    Args:
        statuses: HTTP status -> answers.
        latencies: seconds of each answer with status 200.
        failures: connections that broke.
    """

    clients: int
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    failures: int = 0

    @property
    def requests_per_second(self) -> float:
        """Answers with status 200 a second."""
        return len(self.latencies) / max(self.seconds, 1e-9)

    def percentile(self, share: float) -> float:
        """Latency in seconds that this share (0 to 100) of the answers stays under; NaN without answers."""
        return float(np.percentile(self.latencies, share)) if self.latencies else float("nan")


def put_load(
    address: str,
    path: str,
    bodies: Sequence[dict[str, object]],
    *,
    clients: int,
    requests: int,
    seconds: float,
    rate: float = float("inf"),
) -> LoadResult:
    """Let clients send the bodies in turn, each the next one when it has its answer, until one bound is met.

    Args:
        address: "http://127.0.0.1:8000"; only this machine is ever loaded.
        requests, seconds: bounds, at most a million and 120.
        rate: requests a second that all clients send together, as far as they have their answers.

    Raises:
        ValueError: another machine's address, or bounds that are too large.
    """
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port or 80
    if not (host == "localhost" or _is_loopback(host)):
        raise ValueError(f"{address}: load is put on this machine alone (127.0.0.1)")
    if not (0 < requests <= MOST_REQUESTS and 0 < seconds <= MOST_SECONDS and 0 < clients <= MOST_CLIENTS):
        raise ValueError(f"at most {MOST_REQUESTS:,} requests, {MOST_SECONDS:g} seconds and {MOST_CLIENTS:,} clients")
    messages = [_message(host, path, body) for body in bodies]
    return run(_load(host, port, messages, clients, requests, seconds, rate))


async def _load(
    host: str, port: int, messages: Sequence[bytes], clients: int, requests: int, seconds: float, rate: float
) -> LoadResult:
    result = LoadResult(clients)
    started = time.perf_counter()
    turns = iter(range(requests))
    cycle = itertools.cycle(messages)

    async def client() -> None:
        while time.perf_counter() - started < seconds:
            try:
                reader, writer = await asyncio.open_connection(host, port)
            except OSError:
                result.failures += 1
                await asyncio.sleep(0.05)
                continue
            try:
                while time.perf_counter() - started < seconds:
                    turn = next(turns, None)
                    if turn is None:
                        return
                    await asyncio.sleep(max(0.0, started + turn / rate - time.perf_counter()))
                    begun = time.perf_counter()
                    writer.write(next(cycle))
                    status = await _answer(reader)
                    result.statuses[status] += 1
                    if status == 200:
                        result.latencies.append(time.perf_counter() - begun)
            except (OSError, asyncio.IncompleteReadError):
                result.failures += 1
            finally:
                writer.close()

    await asyncio.wait_for(asyncio.gather(*(client() for _ in range(clients))), seconds + 60)
    result.seconds = time.perf_counter() - started
    return result


async def _answer(reader: asyncio.StreamReader) -> int:
    """Read one answer; its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    length = next(int(line[15:]) for line in lines if line[:15].lower() == b"content-length:")
    await reader.readexactly(length)
    return int(lines[0].split()[1])


def _message(host: str, path: str, body: dict[str, object]) -> bytes:
    content = json.dumps(body).encode()
    headers = f"host: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}"
    return f"POST {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode() + content


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
