"""Connections that never ask."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from registry.serving import server


class Plain:
    """What uvicorn's protocols have in common."""

    def __init__(self, asked: bool) -> None:
        self.loop, self.asked, self.cycle, self.closed = asyncio.get_running_loop(), asked, None, False
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.asked:
            self.cycle = object()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True


@pytest.mark.parametrize(("asked", "lost"), [(False, False), (True, False), (False, True)])
def test_a_connection_that_asks_nothing_is_closed(asked: bool, lost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.01)
    closed: list[bool] = []

    async def connect() -> None:
        connection = server.impatient(Plain)(asked)
        connection.connection_made(SimpleNamespace(close=lambda: closed.append(True)))
        if lost:
            connection.connection_lost(None)
        await asyncio.sleep(0.1)

    asyncio.run(connect())
    assert closed == ([] if asked or lost else [True])
