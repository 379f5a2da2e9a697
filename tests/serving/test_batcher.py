"""Micro-batching: who shares a forward pass, who waits, and what one request can do to another."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from registry.serving.batcher import MicroBatcher
from registry.serving.cores import Cores
from registry.serving.limits import Refused


class Model:
    """Doubles the first token of each example; records its batches; fails on token 13; waits where told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.cores: list[int] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, features, cores):
        self.cores.append(cores)
        self.batches.append([len(f["input_ids"]) for f in features])
        self.go.wait(10)
        if any(f["input_ids"][0] == 13 for f in features):
            raise RuntimeError("poison")
        return [{"doubled": np.array([2 * f["input_ids"][0]])} for f in features]


@pytest.fixture
def model():
    return Model()


def example(value: int, length: int = 4) -> dict:
    return {"input_ids": [value] * length}


def doubled(results) -> list[int]:
    return [int(r["doubled"][0]) for r in results]


def with_batcher(model, scenario, **settings):
    async def main():
        batcher = MicroBatcher(model, **settings)
        try:
            return await asyncio.wait_for(scenario(batcher), 20)
        finally:
            model.go.set()
            await asyncio.to_thread(batcher.close)

    return asyncio.run(main())


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_requests_that_come_together_share_a_forward_pass(model):
    async def scenario(batcher):
        batcher.expected = 8

        async def one(value):
            await asyncio.sleep(0)
            batcher.expected -= 1
            return doubled(await batcher.submit([example(value)]))

        return await asyncio.gather(*(one(i) for i in range(20, 28)))

    assert with_batcher(model, scenario, window=1.0) == [[2 * i] for i in range(20, 28)]
    assert model.batches == [[4] * 8]


def test_a_lone_request_waits_for_nobody(model):
    async def scenario(batcher):
        started = time.monotonic()
        await batcher.submit([example(1)])
        return time.monotonic() - started

    assert with_batcher(model, scenario, window=5.0) < 1.0


def test_what_gathers_while_the_model_runs_goes_together_by_length_within_the_budget(model):
    async def scenario(batcher):
        model.go.clear()
        first = asyncio.create_task(batcher.submit([example(1)]))
        await until(lambda: model.batches)
        lengths = [10, 900, 11, 880, 12, 10]
        rest = [asyncio.create_task(batcher.submit([example(i, n)])) for i, n in enumerate(lengths)]
        await until(lambda: batcher.waiting_tokens == sum(lengths))
        model.go.set()
        await asyncio.gather(first, *rest)

    with_batcher(model, scenario, batch_tokens=2000)
    assert model.batches[0] == [4]
    assert [sorted(b) for b in model.batches[1:]] == [[10, 10, 11, 12], [880, 900]]


@pytest.mark.parametrize(
    ("pass_cost", "batches"), [(0, [[10, 10], [12], [14]]), (4, [[10, 10, 12], [14]]), (40, [[10, 10, 12, 14]])]
)
def test_padding_may_cost_what_another_pass_would(model, pass_cost, batches):
    async def scenario(batcher):
        batcher.pass_cost = pass_cost
        await batcher.submit([example(20 + i, length) for i, length in enumerate([10, 14, 10, 12])])

    with_batcher(model, scenario)
    assert sorted(sorted(batch) for batch in model.batches) == batches


def test_without_batching_every_request_goes_alone(model):
    async def scenario(batcher):
        return await asyncio.gather(*(batcher.submit([example(i), example(i)]) for i in range(5)))

    with_batcher(model, scenario, batching=False)
    assert model.batches == [[4, 4]] * 5


def test_equal_lengths_are_never_mixed(model):
    async def scenario(batcher):
        await batcher.submit([example(i, 3 + i % 2) for i in range(8)])

    with_batcher(model, scenario, equal_lengths=True)
    assert sorted(model.batches) == [[3] * 4, [4] * 4]


def test_a_request_of_many_examples_keeps_its_order(model):
    async def scenario(batcher):
        return doubled(await batcher.submit([example(i, 1 + (i * 7) % 50) for i in range(20, 80)]))

    assert with_batcher(model, scenario, batch_tokens=64) == [2 * i for i in range(20, 80)]


def test_a_poisonous_input_fails_alone(model):
    async def scenario(batcher):
        batcher.expected = 1  # all three are in one batch
        requests = [batcher.submit([example(v)]) for v in (1, 13, 3)]
        return await asyncio.gather(*requests, return_exceptions=True)

    good, bad, also_good = with_batcher(model, scenario, window=0.05)
    assert (doubled(good), doubled(also_good)) == ([2], [6])
    assert isinstance(bad, RuntimeError)
    assert model.batches == [[4, 4, 4], [4], [4], [4]]


def test_a_full_queue_refuses_and_says_when_to_come_again(model):
    async def scenario(batcher):
        model.go.clear()
        running = asyncio.create_task(batcher.submit([example(1)]))
        await until(lambda: model.batches)
        waiting = asyncio.create_task(batcher.submit([example(2, 90)]))
        await until(lambda: batcher.waiting_tokens == 90)
        with pytest.raises(Refused) as refusal:
            await batcher.submit([example(3, 20)])
        model.go.set()
        await asyncio.gather(running, waiting)
        return refusal.value

    refusal = with_batcher(model, scenario, queue_tokens=100)
    assert refusal.status == 429
    assert int(refusal.headers["retry-after"]) >= 1


def test_a_request_over_the_queue_is_served_where_nothing_waits(model):
    async def scenario(batcher):
        return doubled(await batcher.submit([example(1, 500)]))

    assert with_batcher(model, scenario, queue_tokens=100) == [2]


def test_who_hangs_up_frees_the_place(model):
    async def scenario(batcher):
        model.go.clear()
        running = asyncio.create_task(batcher.submit([example(1)]))
        await until(lambda: model.batches)
        gone = asyncio.create_task(batcher.submit([example(2, 90)]))
        await until(lambda: batcher.waiting_tokens == 90)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        left = batcher.waiting_tokens
        model.go.set()
        await running
        return left

    assert with_batcher(model, scenario) == 0
    assert model.batches == [[4]]


def test_closing_finishes_what_waits_and_refuses_more(model):
    async def scenario(batcher):
        model.go.clear()
        taken = [asyncio.create_task(batcher.submit([example(i, 3 + i)])) for i in range(3)]
        await until(lambda: model.batches)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.sleep(0.01)
        with pytest.raises(Refused) as refusal:
            await batcher.submit([example(9)])
        model.go.set()
        await closing
        return refusal.value.status, [doubled(r)[0] for r in await asyncio.gather(*taken)]

    assert with_batcher(model, scenario) == (503, [0, 2, 4])


def test_alone_a_forward_pass_has_all_cores_and_with_others_its_share(model):
    async def scenario(batcher):
        await batcher.submit([example(1)])
        model.go.clear()
        together = asyncio.create_task(batcher.submit([example(value) for value in range(20, 26)]))
        await until(lambda: len(model.batches) == 3)  # both are running: none waits for the other
        model.go.set()
        return doubled(await together)

    assert with_batcher(model, scenario, cores=Cores(2)) == [2 * value for value in range(20, 26)]
    assert model.cores == [2, 1, 1]
    assert model.batches[1:] == [[4, 4, 4], [4, 4, 4]]


def test_every_lone_request_has_all_cores(model):
    async def scenario(batcher):
        for value in range(50):
            await batcher.submit([example(value + 20)])

    with_batcher(model, scenario, cores=Cores(2))
    assert model.cores == [2] * 50


def test_closing_finishes_what_waits_and_ends_every_thread(model):
    async def main():
        batcher = MicroBatcher(model, cores=Cores(4))
        model.go.clear()
        waiting = [asyncio.create_task(batcher.submit([example(value, value)])) for value in range(20, 60)]
        await until(lambda: len(model.batches) == 4)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.sleep(0.01)
        model.go.set()
        await asyncio.wait_for(closing, 20)
        return [doubled(answer) for answer in await asyncio.gather(*waiting)]

    assert asyncio.run(main()) == [[2 * value] for value in range(20, 60)]


def test_services_share_cores(model):
    cores = Cores(1)

    async def scenario(batcher):
        other = MicroBatcher(model, cores=cores)
        try:
            answers = [part.submit([example(value)]) for value in range(20, 40) for part in (batcher, other)]
            return [doubled(answer) for answer in await asyncio.gather(*answers)]
        finally:
            await asyncio.to_thread(other.close)

    assert with_batcher(model, scenario, cores=cores) == [[2 * value] for value in range(20, 40) for _ in range(2)]
    assert set(model.cores) == {1}


def test_cores_are_free_again_when_a_forward_pass_has_failed(model):
    cores = Cores(3)

    async def scenario(batcher):
        for _ in range(4):
            with pytest.raises(RuntimeError, match="poison"):
                await batcher.submit([example(13)])

    with_batcher(model, scenario, cores=cores)
    assert cores.free == 3
