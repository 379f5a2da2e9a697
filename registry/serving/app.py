"""The HTTP interface over one or several runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from importlib import resources
from typing import Any

import anyio
import torch
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from registry import __version__
from registry.runs import Run
from registry.serving.bodies import PREDICT_DOCS, QUERY_DOCS, RUN_DOCS, read_items, read_sentences
from registry.serving.cores import Cores
from registry.serving.limits import Gate, Refused, ServingLimits, too_long
from registry.serving.metrics import ServingMetrics
from registry.serving.service import Item, Service

logger = logging.getLogger(__name__)

PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:"
)
ENCODING_THREADS = 2
HUNG_UP = 499
"""What is counted where nobody waits for the answer any more."""


class Serving:
    """The services of one application and what they share."""

    warming: asyncio.Future[list[None]]
    """Done when every run has answered; has the error of the first that could not. There once the application runs."""

    def __init__(self, runs: Mapping[str, Run], limits: ServingLimits, *, batching: bool, log_texts: bool) -> None:
        self.limits, self.log_texts, self.metrics = limits, log_texts, ServingMetrics()
        self.threads = ThreadPoolExecutor(ENCODING_THREADS, thread_name_prefix="encode")
        own_threads = any(run.device != "cpu" or run.engine != "torch" for run in runs.values())
        cores = Cores(1 if own_threads else torch.get_num_threads())
        shared = {"threads": self.threads, "cores": cores, "batching": batching}
        self.services = {name: Service(name, run, limits, self.metrics, **shared) for name, run in runs.items()}  # type: ignore

    def service(self, name: str | None) -> Service:
        """The service of that name; without one, the only service there is."""
        if name is None and len(self.services) == 1:
            return next(iter(self.services.values()))
        if name not in self.services:
            said = f"no run {name!r} here" if name else "several runs are served"
            raise Refused(404, f"{said}; ask for one by name: {', '.join(f'/predict/{n}' for n in self.services)}")
        return self.services[name]

    async def answer(self, request: Request, service: Service, items: Sequence[Item]) -> list[dict[str, Any]]:
        """Predictions within the time limit; a client that hangs up frees its place."""
        if self.log_texts:
            logger.info("%s: %s", service.name, items)
        gone = asyncio.create_task(_hung_up(request))
        try:
            with anyio.move_on_after(self.limits.timeout) as waiting:
                gone.add_done_callback(lambda _: waiting.cancel())
                return await service.predict(items)
            if gone.done():
                raise Refused(HUNG_UP, "the client hung up")
            raise Refused(504, f"no answer within {self.limits.timeout:g} seconds")
        finally:
            gone.cancel()

    def close(self) -> None:
        """Finish what waits and end the threads."""
        for service in self.services.values():
            service.batcher.close()
        self.threads.shutdown()


def build_app(
    runs: Mapping[str, Run],
    limits: ServingLimits = ServingLimits(),
    *,
    api_key: str | None = None,
    batching: bool = True,
    log_texts: bool = False,
) -> FastAPI:
    """The application that serves `runs` by name.

    Args:
        api_key: what clients must send; None: anybody may ask.
        batching: whether requests share forward passes.
        log_texts: log what is asked; off, because texts may be private.
    """
    serving = Serving(runs, limits, batching=batching, log_texts=log_texts)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        serving.warming = asyncio.gather(*(service.warm_up() for service in serving.services.values()))
        yield
        serving.warming.cancel()
        await asyncio.gather(serving.warming, return_exceptions=True)
        await asyncio.to_thread(serving.close)

    app = FastAPIOffline(
        title="finetune-registry", version=__version__, lifespan=lifespan, redoc_url=None, description=__doc__
    )
    app.state.serving = serving
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(Gate, limits=limits, key=api_key, metrics=serving.metrics)
    _add_predictions(app, serving)
    _add_state(app, serving)
    return app


class BodyRoute(APIRoute):
    """A route whose endpoint reads the request itself: FastAPI documents it, and does nothing more for it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint itself."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


def _add_predictions(app: FastAPI, serving: Serving) -> None:
    async def predict(request: Request) -> Response:
        """Predictions for one text or many, with columns by name where the task has several."""
        return await _timed(serving, request, read_items, "predictions")

    async def query(request: Request) -> Response:
        """The same for clients that send `sentences` and read `results`."""
        return await _timed(serving, request, read_sentences, "results")

    for endpoint, docs in ((predict, PREDICT_DOCS), (query, QUERY_DOCS)):
        add = partial(app.router.add_api_route, endpoint=endpoint, methods=["POST"], route_class_override=BodyRoute)
        add(f"/{endpoint.__name__}", openapi_extra=docs)
        add(f"/{endpoint.__name__}/{{run}}", openapi_extra={**docs, "parameters": RUN_DOCS})


def _add_state(app: FastAPI, serving: Serving) -> None:
    page = resources.files("registry.serving").joinpath("page.html").read_text(encoding="utf-8")

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(page, headers={"content-security-policy": PAGE_POLICY})

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Alive: the process answers."""
        return {"status": "alive"}

    @app.get("/ready")
    async def ready() -> Response:
        """Warmed up: requests are answered at full speed."""
        ready = all(service.ready for service in serving.services.values())
        return _json({"ready": ready}, 200 if ready else 503)

    @app.get("/info")
    async def info() -> Response:
        """The runs served, with their labels, limits and provenance."""
        runs = [service.info() for service in serving.services.values()]
        return _json({"version": __version__, "runs": runs, "limits": asdict(serving.limits)})

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(serving.metrics.text(), media_type="text/plain; version=0.0.4")


async def _timed(serving: Serving, request: Request, read: Any, answer_name: str) -> Response:
    service = serving.service(request.path_params.get("run"))
    started, status = time.perf_counter(), 500
    try:
        with anyio.fail_after(serving.limits.timeout):
            body = await _body(request, serving.limits)
        items = read(body, serving.limits)
        answer = {"run": service.name, answer_name: await serving.answer(request, service, items)}
        status = 200
        return _json(answer)
    except TimeoutError:
        status = 408
        raise Refused(408, f"the request did not arrive within {serving.limits.timeout:g} seconds") from None
    except ClientDisconnect:
        status = HUNG_UP
        raise Refused(status, "the client hung up") from None
    except Refused as refusal:
        status = refusal.status
        raise
    finally:
        serving.metrics.requests.labels(service.name, status).inc()
        serving.metrics.latency.labels(service.name).observe(time.perf_counter() - started)


async def _body(request: Request, limits: ServingLimits) -> bytes:
    """The body, given up as soon as it is longer than allowed."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limits.max_bytes:
            raise too_long(limits)
        parts.append(part)
    return b"".join(parts)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(value: Any, status: int = 200) -> Response:
    # A diverged model's NaN is not JSON; null is.
    return Response(to_json(value, inf_nan_mode="null"), status, media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    response = _json({"error": error.message}, error.status)
    response.headers.update(error.headers)
    return response


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": str(error.detail)}, error.status_code)
