"""The load generator: it counts what happens, keeps its bounds and touches no other machine."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from registry.serving.load import put_load


@pytest.fixture
def address():
    """A server that answers every third request with 429."""
    loop, ready, count = asyncio.new_event_loop(), threading.Event(), [0]
    port: list[int] = []

    async def answer(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length:")[1].split()[0]))
                count[0] += 1
                status = b"429 No" if count[0] % 3 == 0 else b"200 OK"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}")
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def run():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port.append(server.sockets[0].getsockname()[1])
        ready.set()
        await asyncio.Event().wait()

    task = loop.create_task(run())
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])))
    thread.start()
    ready.wait(10)
    yield f"http://127.0.0.1:{port[0]}"
    loop.call_soon_threadsafe(task.cancel)
    thread.join(10)


def test_requests_are_counted_to_the_bound(address):
    result = put_load(address, "/predict", [{"text": "a"}], clients=4, requests=90, seconds=20)
    assert result.statuses == {200: 60, 429: 30}
    assert len(result.latencies) == 60
    assert result.failures == 0
    assert 0 < result.percentile(50) <= result.percentile(99)


def test_time_is_a_bound(address):
    started = time.monotonic()
    result = put_load(address, "/predict", [{"text": "a"}], clients=2, requests=1_000_000, seconds=0.3)
    assert time.monotonic() - started < 5
    assert result.statuses[200] > 0


@pytest.mark.parametrize("host", ["example.org", "10.0.0.1", "0.0.0.0", "128.0.0.1"])
def test_other_machines_are_refused(host):
    with pytest.raises(ValueError, match="this machine alone"):
        put_load(f"http://{host}:80", "/", [{}], clients=1, requests=1, seconds=1)


def test_bounds_are_bounded(address):
    with pytest.raises(ValueError, match="at most"):
        put_load(address, "/", [{}], clients=1, requests=10**9, seconds=1)


def test_a_rate_is_kept_over_all_clients(address):
    result = put_load(address, "/predict", [{"text": "a"}], clients=3, requests=60, seconds=20, rate=100)
    assert sum(result.statuses.values()) == 60
    assert result.seconds == pytest.approx(0.6, abs=0.25)
