"""One run behind the interface: texts are encoded, batched with those of other requests, and decoded."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch

from registry.inference import EncodedColumns, Reduced
from registry.runs import NotFinite, Run
from registry.serving.batcher import MicroBatcher
from registry.serving.cores import Cores
from registry.serving.limits import Refused, ServingLimits
from registry.serving.metrics import ServingMetrics
from registry.tasks.base import Features

logger = logging.getLogger(__name__)

Item = str | Mapping[str, Any]

MEASURED_TOKENS = 512
"""Of a forward pass that is large enough to show what a token costs, and small enough to be measured at start."""

INLINE_CHARACTERS = 2_000
"""Shorter requests are encoded on the event loop: a thread would cost more than the work."""


class Service:
    """A named run that answers requests.

    Args:
        threads: pool for encoding what is long.
        cores: what models run on; shared by the services of one process.
    """

    def __init__(
        self,
        name: str,
        run: Run,
        limits: ServingLimits,
        metrics: ServingMetrics,
        *,
        threads: ThreadPoolExecutor,
        cores: Cores,
        batching: bool = True,
    ) -> None:
        self.name, self.run, self.limits, self.threads = name, run, limits, threads
        self.ready, self.several = False, cores.number > 1
        batches, tokens = metrics.batches.labels(name), metrics.tokens.labels(name)

        def on_batch(examples: int, padded: int) -> None:
            batches.observe(examples)
            tokens.inc(padded)

        self.batcher = MicroBatcher(
            self._forward,
            cores=cores,
            batch_tokens=run.batch_tokens,
            queue_tokens=limits.queue_tokens,
            equal_lengths=run.equal_lengths,
            batching=batching,
            on_batch=on_batch,
        )
        metrics.queue.labels(name).set_function(lambda: self.batcher.waiting_tokens)

    async def predict(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """Predictions in the order of `items`.

        Raises:
            Refused: an item is not what the task needs, or the model fails on it (422), there are too many
                tokens (413), or the queue is full (429).
        """
        try:
            return await self._answer(items)
        except Refused:
            raise
        except NotFinite as error:
            raise Refused(422, str(error)) from error
        except Exception as error:
            # Where it failed, without the error's own words: they may quote the text, which may be private.
            place = "".join(traceback.format_tb(error.__traceback__))
            logger.error("%s: a request of %d items failed: %s\n%s", self.name, len(items), type(error).__name__, place)
            raise Refused(422, f"the model cannot process this input ({type(error).__name__})") from error

    async def warm_up(self) -> None:
        """Answer texts of different lengths, so that the first client waits for nothing; measure what a pass costs.

        Raises:
            ValueError: the run cannot answer.
        """
        try:
            for words in (1, 8, 64):
                await self._warm_up(words)
            self.batcher.pass_cost = await asyncio.to_thread(self._pass_cost)
        except Exception as error:  # whatever a model or an engine raises, the person needs one line
            raise ValueError(f"{self.name}: this run cannot answer ({type(error).__name__}: {error})") from error
        self.ready = True

    async def _warm_up(self, words: int) -> None:
        try:
            await self._answer([self._sample(words)])
        except Refused as refusal:
            # Longer than any client's may be, or clients were faster: there is nothing to warm.
            if refusal.status not in (413, 429):
                raise

    async def _answer(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        self.batcher.expected += 1
        try:
            # Requests that came in together are all counted before the first of them is encoded.
            await asyncio.sleep(0)
            if sum(map(_characters, items)) <= INLINE_CHARACTERS:
                examples, features = self._prepare(items)
            else:
                loop = asyncio.get_running_loop()
                examples, features = await loop.run_in_executor(self.threads, self._prepare, items)
        finally:
            self.batcher.expected -= 1
        return self.run.decode(examples, await self.batcher.submit(features))

    def info(self) -> dict[str, Any]:
        """What this run is and where it came from."""
        record = self.run.record
        return {
            "name": self.name,
            "task": record.task.name,
            "family": self.run.task.family,
            "inputs": list(self.run.task.inputs()),
            "model": record.model.name,
            "source": record.source.path,
            "labels": list(record.head.labels),
            "problem": record.head.problem,
            "limits": asdict(record.limits),
            "ready": self.ready,
            "engine": self.run.engine,
            "device": self.run.device,
            "provenance": {"task": record.task.origin, "model": record.model.origin, "versions": record.versions},
        }

    def _prepare(self, items: Sequence[Item]) -> tuple[Mapping[str, Any], list[Features]]:
        try:
            examples = self.run.task.from_inputs(items)
            encoded = self.run.encode(examples)
        except ValueError as error:
            raise Refused(422, str(error)) from None
        tokens = int(encoded.lengths.sum())
        if tokens > self.limits.max_tokens:
            raise Refused(413, f"the request has {tokens:,} tokens; {self.limits.max_tokens:,} are allowed")
        return examples, encoded.rows(range(len(encoded)))

    def _sample(self, words: int) -> Item:
        names = list(self.run.task.inputs())
        text = "a " * words
        return text if len(names) == 1 else dict.fromkeys(names, text)

    def _pass_cost(self) -> int:
        """What starting a forward pass costs, in tokens that it could compute meanwhile; measured, on one core."""
        features = self.run.encode(self.run.task.from_inputs([self._sample(words=16)])).rows([0])
        length = len(features[0]["input_ids"])
        several = max(2, min(MEASURED_TOKENS, self.batcher.batch_tokens) // length)
        one, many = (_fastest(partial(self._forward, features * n, 1)) for n in (1, several))
        token = (many - one) / ((several - 1) * length)
        most = self.batcher.batch_tokens
        return most if one >= most * token else max(0, round(one / token) - length)

    def _forward(self, features: list[Features], cores: int) -> list[Reduced]:
        if self.several:
            torch.set_num_threads(cores)  # those of this thread's operators
        encoded = EncodedColumns({name: [f[name] for f in features] for name in features[0]})
        (reduced,) = self.run.reduce(encoded, [np.arange(len(features))])
        return [{name: values[i : i + 1] for name, values in reduced.items()} for i in range(len(features))]


def _fastest(act: Callable[[], object], times: int = 3) -> float:
    """The seconds of the fastest of several tries."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _characters(item: Item) -> int:
    return len(item) if isinstance(item, str) else sum(len(str(value)) for value in item.values())
