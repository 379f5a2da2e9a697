"""The update plan: every example once an epoch, the same order whatever the processes."""

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


@pytest.mark.parametrize(("world_size", "size"), [(1, 32), (1, 8), (2, 16), (2, 5), (3, 4), (8, 1)])
def test_micro_batches_hold_the_update_whatever_the_processes(world_size, size):
    for update in (plan().epoch(0)[0], plan().epoch(0)[0][:5]):
        steps = plan().micro_batches(update, world_size, size)
        assert all(len(step) == world_size for step in steps)
        parts = [part for step in steps for part in step]
        assert sorted(np.concatenate(parts)) == sorted(update)
        assert max(len(part) for part in parts) <= size


def test_models_that_padding_disturbs_get_equal_lengths():
    steps = plan(equal_lengths=True).micro_batches(plan().epoch(0)[0], 2, 16)
    for step in steps:
        assert len({int(n) for part in step for n in LENGTHS[part]}) == 1


def test_total_updates():
    assert plan().total_updates(3, None) == 96
    assert plan().total_updates(0.5, None) == 16
    assert plan().total_updates(3, 10) == 10
    assert plan().total_updates(0, None) == 0
