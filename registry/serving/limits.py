"""Limits that hold before any work is done: who may ask, how much, and how many at once."""

from __future__ import annotations

import asyncio
import hmac
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from registry.serving.metrics import ServingMetrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = ("/", "/health", "/ready", "/docs", "/openapi.json")
"""What answers without an API key: pages without data, and what a load balancer asks."""
REFUSALS_PER_SECOND, LONGEST_HOLD = 100.0, 1.0
"""Refusals for want of room are sent at this pace, each after so many seconds at most (its Retry-After): clients that
ask again at once would cost the others' answers otherwise."""
OPEN_FOLDER = "/static-offline-docs/"


@dataclass(frozen=True)
class ServingLimits:
    """How much the service takes on.

    Args:
        max_bytes: of one request's body.
        max_items: texts in one request.
        max_tokens: of one request, after cleaning and tokenising.
        max_requests: answered or waiting at the same time; more are refused with 429.
        queue_tokens: tokens that may wait for the model; more are refused with 429.
        timeout: seconds until a request is given up.
    """

    max_bytes: int = 1_000_000
    max_items: int = 256
    max_tokens: int = 65_536
    max_requests: int = 256
    queue_tokens: int = 262_144
    timeout: float = 30.0


class Refused(Exception):
    """A request that is not served: an HTTP status, a message, and when to come again."""

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {} if retry_after is None else {"retry-after": str(max(1, math.ceil(retry_after)))}


class Gate:
    """ASGI middleware: keeps out requests without the key, and new work while there is enough or the end is near.

    It stands before routing and before the body is read, so that refusing costs next to nothing.

    Args:
        key: the API key that clients send as `Authorization: Bearer …` or `X-API-Key`; None: anybody may ask.
    """

    def __init__(self, app: App, limits: ServingLimits, metrics: ServingMetrics, key: str | None = None) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics
        self._key = key.encode() if key is not None else None
        self.requests, self._next_refusal = 0, 0.0
        metrics.in_flight.set_function(lambda: self.requests)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        path = scope["path"]
        if path not in OPEN_PATHS and not path.startswith(OPEN_FOLDER) and not self._knows(headers):
            refusal = Refused(401, "this service needs its API key: Authorization: Bearer KEY")
            refusal.headers["www-authenticate"] = "Bearer"
            return await self._refuse(send, refusal)
        if scope["method"] != "POST":
            return await self.app(scope, receive, send)
        if self.requests >= self.limits.max_requests:
            await self._hold()
            return await self._refuse(send, Refused(429, "too many requests at once; try again shortly", 1))
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.limits.max_bytes:
            return await self._refuse(send, too_long(self.limits))
        self.requests += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.requests -= 1

    async def _hold(self) -> None:
        """Wait for the turn of the next refusal."""
        now = time.monotonic()
        self._next_refusal = min(max(now, self._next_refusal + 1 / REFUSALS_PER_SECOND), now + LONGEST_HOLD)
        await asyncio.sleep(self._next_refusal - now)

    def _knows(self, headers: dict[bytes, bytes]) -> bool:
        if self._key is None:
            return True
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        given = token.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")
        return hmac.compare_digest(given, self._key)

    async def _refuse(self, send: Send, refusal: Refused) -> None:
        self.metrics.refused.labels(refusal.status).inc()
        body = to_json({"error": refusal.message})
        headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
        await send({"type": "http.response.body", "body": body})


def too_long(limits: ServingLimits) -> Refused:
    """The refusal of a body that is too long."""
    return Refused(413, f"the request is longer than {limits.max_bytes:,} bytes; send fewer texts at a time")
