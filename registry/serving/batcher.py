"""Micro-batching: requests that arrive together share a forward pass, and one that is alone waits for nobody.

Threads of its own run the model. While they are busy, requests gather; then one takes the request that has
waited longest together with those closest to it in length, as many as fit the token budget, and leaves the
other threads their share.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from registry.inference import Reduced
from registry.serving.cores import Cores
from registry.serving.limits import Refused
from registry.tasks.base import Features

Forward = Callable[[list[Features], int], list[Reduced]]
"""Encoded examples, and the cores to work on them with -> what the task reduces of each, one at a time."""


@dataclass(eq=False)
class Ticket:
    """A request's place: its encoded examples, and what has come of them."""

    features: list[Features]
    answer: asyncio.Future[list[Reduced]]
    results: dict[int, Reduced] = field(default_factory=dict)

    def deliver(self, index: int, result: Reduced | Exception) -> None:
        """Take one example's result; the request is answered when all are there or one has failed."""
        if self.answer.done():
            return
        if isinstance(result, Exception):
            self.answer.set_exception(result)
            return
        self.results[index] = result
        if len(self.results) == len(self.features):
            self.answer.set_result([self.results[i] for i in range(len(self.features))])


@dataclass(frozen=True, eq=False)
class Example:
    """One encoded example of a request, waiting."""

    ticket: Ticket
    index: int
    length: int

    @property
    def features(self) -> Features:
        """What the model gets."""
        return self.ticket.features[self.index]


class MicroBatcher:
    """Collects encoded examples of many requests into forward passes, on threads of its own.

    Args:
        forward: runs the model; called by as many threads at a time as there are cores.
        cores: what forward passes run on; services of one process share them.
        batch_tokens: most padded tokens of one forward pass.
        queue_tokens: most tokens that may wait.
        window: seconds to wait for requests that are already being read.
        equal_lengths: never mix lengths in a batch.
        batching: without it every request is answered by a forward pass of its own.
        on_batch: told the examples and the padded tokens of every forward pass.
    """

    def __init__(
        self,
        forward: Forward,
        *,
        cores: Cores | None = None,
        batch_tokens: int = 4096,
        queue_tokens: int = 262_144,
        window: float = 0.003,
        equal_lengths: bool = False,
        batching: bool = True,
        on_batch: Callable[[int, int], None] = lambda examples, tokens: None,
    ) -> None:
        self.forward, self.cores = forward, cores or Cores()
        self.batch_tokens, self.queue_tokens, self.window = batch_tokens, queue_tokens, window
        self.equal_lengths, self.batching, self.on_batch = equal_lengths, batching, on_batch
        self.pass_cost = 32
        """What starting a forward pass costs, in tokens it could compute meanwhile: more padding than that is not worth
        saving one. Right for a small model on a CPU; set by whoever has measured it."""
        self.waiting_tokens = 0
        self.tokens_per_second = 0.0
        self.expected = 0
        """Requests that are being read; set by the event loop. The model waits a moment for them."""
        self._waiting: list[Example] = []
        self._closing = False
        self._ready = self.cores.condition()
        threads = range(self.cores.number)
        self._threads = [threading.Thread(target=self._run, name="model", daemon=True) for _ in threads]
        for thread in self._threads:
            thread.start()

    async def submit(self, features: list[Features]) -> list[Reduced]:
        """The model's reduced outputs for one request's examples, in order. A cancelled wait frees its place.

        Raises:
            Refused: 429 when too much is waiting; 503 while shutting down.
        """
        loop = asyncio.get_running_loop()
        ticket = Ticket(features, loop.create_future())
        examples = [Example(ticket, i, len(f["input_ids"])) for i, f in enumerate(features)]
        tokens = sum(example.length for example in examples)
        with self._ready:
            if self._closing:
                raise Refused(503, "the service is shutting down", 1)
            if self._waiting and self.waiting_tokens + tokens > self.queue_tokens:
                raise Refused(429, "too much work is waiting; try again later", self._drain_seconds())
            self._waiting.extend(examples)
            self.waiting_tokens += tokens
            self._ready.notify()
        try:
            return await ticket.answer
        finally:
            if len(ticket.results) < len(features):
                self._withdraw(ticket)

    def close(self) -> None:
        """Finish what waits, then end the threads."""
        with self._ready:
            self._closing = True
            self._ready.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self.cores.free if self._waiting else self._closing)
                if not self._waiting:
                    self._ready.notify()  # the other threads end, too
                    return
                self._wait_for_others()
                if not (self._waiting and self.cores.free):  # another thread was faster
                    continue
                batch = self._take(self.cores.free)
                cores = self.cores.take(1 if self._waiting else self.cores.free)
                self._ready.notify()
            try:
                self._answer(batch, cores)
            finally:
                self.cores.give(cores)

    def _wait_for_others(self) -> None:
        """Give requests that are being read a moment to join; called with the lock held."""
        until = time.monotonic() + self.window
        while self.batching and self.expected > 0 and self.waiting_tokens < self.batch_tokens and not self._closing:
            left = until - time.monotonic()
            if left <= 0:
                return
            self._ready.wait(left)

    def _take(self, threads: int) -> list[Example]:
        """The example that waits longest and those nearest to it in length, within the budget; lock held.

        Args:
            threads: those that can take a part of what waits, this one included.
        """
        most = -(-len(self._waiting) // threads)
        first = self._waiting[0]
        if not self.batching:
            near = [e for e in self._waiting if e.ticket is first.ticket]
        else:
            near = sorted(self._waiting, key=lambda e: abs(e.length - first.length))
        chosen: list[Example] = []
        longest = real = 0
        for example in near:
            longest, real = max(longest, example.length), real + example.length
            padded = longest * (len(chosen) + 1)
            different = self.equal_lengths and example.length != first.length
            full = len(chosen) == most and self.batching
            if chosen and (full or different or padded > min(self.batch_tokens, real + self.pass_cost)):
                break
            chosen.append(example)
        taken = set(map(id, chosen))
        self._waiting = [e for e in self._waiting if id(e) not in taken]
        self.waiting_tokens = sum(e.length for e in self._waiting)
        return chosen

    def _answer(self, batch: list[Example], cores: int) -> None:
        started = time.monotonic()
        results: Sequence[Reduced | Exception]
        try:
            results = self.forward([example.features for example in batch], cores)
        except Exception as error:
            owners = {id(example.ticket): example.ticket for example in batch}
            if len(owners) > 1:
                # One request's input must not spoil the others': each is tried alone.
                for owner in owners.values():
                    self._answer([example for example in batch if example.ticket is owner], cores)
                return
            results = [error] * len(batch)
        longest = max(example.length for example in batch)
        self._measure(longest * len(batch) * self.cores.number / cores, time.monotonic() - started)
        self.on_batch(len(batch), longest * len(batch))
        loop = batch[0].ticket.answer.get_loop()
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
            loop.call_soon_threadsafe(_deliver, batch, results)

    def _measure(self, tokens: float, seconds: float) -> None:
        speed = tokens / max(seconds, 1e-6)
        self.tokens_per_second = 0.9 * self.tokens_per_second + 0.1 * speed if self.tokens_per_second else speed

    def _drain_seconds(self) -> float:
        return self.waiting_tokens / self.tokens_per_second if self.tokens_per_second else 1.0

    def _withdraw(self, ticket: Ticket) -> None:
        with self._ready:
            self._waiting = [example for example in self._waiting if example.ticket is not ticket]
            self.waiting_tokens = sum(example.length for example in self._waiting)


def _deliver(batch: list[Example], results: Sequence[Reduced | Exception]) -> None:
    for example, result in zip(batch, results, strict=True):
        example.ticket.deliver(example.index, result)
