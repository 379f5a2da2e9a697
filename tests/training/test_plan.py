"""The update plan: every example once an epoch, the same order whatever the processes."""

import itertools

import numpy as np
import pytest

from registry.training.plan import UpdatePlan, padding_share

LENGTHS = np.random.default_rng(0).integers(3, 60, size=1003).astype(np.int32)


def plan(**changes):
    return UpdatePlan(**{"lengths": LENGTHS, "batch_size": 32, "seed": 7, **changes})


@pytest.mark.parametrize("grouped", [True, False])
def test_every_example_once_an_epoch(grouped):
    updates = plan(group_by_length=grouped).epoch(0)
    assert len(updates) == plan().updates_per_epoch == 32
    assert sorted(np.concatenate(updates)) == list(range(1003))
    assert sorted(len(u) for u in updates)[0] == 1003 % 32


def test_order_depends_on_seed_and_epoch_alone():
    assert all(np.array_equal(a, b) for a, b in zip(plan().epoch(3), plan().epoch(3), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(plan().epoch(3), plan().epoch(4), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(plan().epoch(3), plan(seed=8).epoch(3), strict=True))


def test_grouping_saves_padding():
    grouped, random = padding_share(plan())
    assert grouped < 0.1 < 0.3 < random


def test_neighbouring_updates_are_not_correlated_beyond_their_own_length():
    many = np.tile(LENGTHS, 20)
    means = np.array([many[u].mean() for u in UpdatePlan(many, 32, seed=1).epoch(0)])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.1


@pytest.mark.parametrize("after", [1, 2, 3])
def test_neighbouring_updates_come_from_anywhere_in_the_source(after):
    """Rows of many sources are sorted (all positives, then all negatives): neither they nor lengths come in waves."""
    many = np.tile(LENGTHS, 40)
    found = []
    for seed in range(4):
        updates = UpdatePlan(many, 32, seed=seed).epoch(0)
        for values in (np.arange(len(many)), many):
            means = np.array([values[u].mean() for u in updates])
            found.append(np.corrcoef(means[:-after], means[after:])[0, 1])
    assert np.abs(found).max() < 0.12  # of 1254 updates; three standard deviations of chance are 0.085
    assert abs(np.mean(found)) < 0.03


def test_few_examples_of_many_lengths_get_other_company_in_every_epoch():
    plan = UpdatePlan(np.arange(1007) + 3, batch_size=32, seed=1)
    epochs = [plan.epoch(epoch) for epoch in range(12)]
    company = [{frozenset((a, b)) for u in updates for i, a in enumerate(u) for b in u[:i]} for updates in epochs]
    again = [len(first & second) / len(first) for first, second in itertools.pairwise(company)]
    assert max(again) < 0.3
    short = [next(set(u.tolist()) for u in updates if len(u) < 32) for updates in epochs]
    assert [len(updates) for updates in epochs] == [32] * 12
    assert {len(u) for u in short} == {1007 % 32}
    longest = set(range(1007 - 15, 1007))
    assert sum(examples == longest for examples in short) <= 1


def test_company_changes_from_epoch_to_epoch():
    """Examples of one length share an update by chance alone, anew every epoch."""
    many = np.full(20000, 7)
    first, second = (np.empty(20000, int) for _ in range(2))
    for epoch, place in enumerate((first, second)):
        for number, update in enumerate(UpdatePlan(many, 32, seed=1).epoch(epoch)):
            place[update] = number
    pairs = np.random.default_rng(0).integers(20000, size=(400000, 2))
    pairs = pairs[(pairs[:, 0] != pairs[:, 1]) & (first[pairs[:, 0]] == first[pairs[:, 1]])]
    again = second[pairs[:, 0]] == second[pairs[:, 1]]
    assert len(pairs) > 400
    assert again.mean() < 0.02


@pytest.mark.parametrize(("world_size", "size"), [(1, 32), (1, 8), (2, 16), (2, 5), (3, 4), (8, 1)])
def test_micro_batches_hold_the_update_whatever_the_processes(world_size, size):
    for update in (plan().epoch(0)[0], plan().epoch(0)[0][:5]):
        steps = plan().micro_batches(update, world_size, size)
        assert all(len(step) == world_size for step in steps)
        parts = [part for step in steps for part in step]
        assert sorted(np.concatenate(parts)) == sorted(update)
        assert max(len(part) for part in parts) <= size


@pytest.mark.parametrize("equal_lengths", [True, False])
@pytest.mark.parametrize(("world_size", "size", "tokens"), [(1, 32, 256), (2, 16, 128), (3, 4, 200), (2, 16, 40)])
def test_micro_batches_hold_no_more_than_so_many_tokens(world_size, size, tokens, equal_lengths):
    bounded = plan(micro_batch_tokens=tokens, equal_lengths=equal_lengths)
    for update in (bounded.epoch(0)[0], bounded.epoch(0)[0][:5]):
        steps = bounded.micro_batches(update, world_size, size)
        assert sorted(np.concatenate([part for step in steps for part in step])) == sorted(update)
        for step in steps:
            assert len(step) == world_size
            assert len(step[0])  # a process without examples takes the first one's for its empty pass
            for part in step:
                assert len(part) <= size
                assert len(part) <= 1 or len(part) * LENGTHS[part].max() <= tokens
    largest = bounded.longest_micro_batch(size)
    assert LENGTHS[largest].min() >= np.sort(LENGTHS)[-size]
    assert len(largest) == max(1, min(size, tokens // LENGTHS.max()))


def test_a_bound_on_tokens_gives_the_fewest_micro_batches():
    lengths = np.array([10] * 8 + [40] * 4)
    steps = UpdatePlan(lengths, 12, seed=0, micro_batch_tokens=80).micro_batches(np.arange(12), 1, 12)
    assert [[int(n) for n in lengths[step[0]]] for step in steps] == [[10] * 8, [40, 40], [40, 40]]


def test_models_that_padding_disturbs_get_equal_lengths():
    steps = plan(equal_lengths=True).micro_batches(plan().epoch(0)[0], 2, 16)
    for step in steps:
        assert len({int(n) for part in step for n in LENGTHS[part]}) == 1


def test_total_updates():
    assert plan().total_updates(3, None) == 96
    assert plan().total_updates(0.5, None) == 16
    assert plan().total_updates(3, 10) == 10
    assert plan().total_updates(0, None) == 0


def test_tokens_count_with_the_padding_to_a_step():
    lengths = np.array([9] * 12)
    for step, most in ((1, 7), (8, 4)):  # 64 tokens hold 7 texts of 9 tokens, but 4 of 16
        cut = UpdatePlan(lengths, batch_size=12, seed=1, micro_batch_tokens=64, length_step=step)
        assert max(len(part) for (part,) in cut.micro_batches(np.arange(12), 1, 12)) == most
