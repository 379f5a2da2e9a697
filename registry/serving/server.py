"""Running the application: where it listens, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from registry.allocator import return_memory, trim

SWITCH_INTERVAL = 0.0005
"""Seconds a thread keeps Python's lock at most: the model's thread takes it back between operators, and at the
default of 0.005 a busy event loop would stretch every forward pass."""


TICKS_TO_TRIM = 100
"""Ten seconds, after which what answers left behind is given back to the system."""


HEADER_SECONDS = 30
"""In which a new connection must have asked something."""


def impatient(protocol: type[Any]) -> type[Any]:
    """An HTTP protocol of uvicorn's that closes connections which ask nothing: each holds a file descriptor."""

    class Impatient(protocol):  # type: ignore[misc]
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.patience = self.loop.call_later(HEADER_SECONDS, self.close_unless_asked)

        def connection_lost(self, exc: Exception | None) -> None:
            self.patience.cancel()
            super().connection_lost(exc)

        def close_unless_asked(self) -> None:
            if self.cycle is None:
                self.transport.close()

    return Impatient


class Server(uvicorn.Server):
    """Uvicorn that ends with success when it is told to end: it takes no more requests and finishes those taken.

    It ends, too, when a run cannot answer; `failure` says which.
    """

    failure: BaseException | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the service; a second one at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        yield

    async def on_tick(self, counter: int) -> bool:
        """Whether it is time to end; asked ten times a second. Free memory is trimmed now and then."""
        if counter % TICKS_TO_TRIM == 0:
            asyncio.get_running_loop().run_in_executor(None, trim)
        warming = cast("FastAPI", self.config.app).state.serving.warming
        if warming.done():
            self.failure = warming.exception()
        return self.failure is not None or await super().on_tick(counter)


def serve(app: FastAPI, host: str, port: int, *, timeout: float) -> None:
    """Serve until a signal.

    Args:
        timeout: seconds that requests may take to finish at the end.

    Raises:
        ValueError: the address is taken or not this machine's, or a run cannot answer.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    return_memory()
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=int(timeout) + 1, backlog=4096
    )
    config.load()
    config.http_protocol_class = impatient(cast("type[Any]", config.http_protocol_class))
    try:
        socket = config.bind_socket()
    except SystemExit:
        raise ValueError(f"--host {host} --port {port}: the address is in use or not this machine's") from None
    address, bound = socket.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    print(f"serving on http://{shown}:{bound}", flush=True)
    server = Server(config)
    server.run(sockets=[socket])
    if server.failure is not None:
        raise server.failure
