"""Which weights are the best, and when patience ends."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from registry.training.selection import Selection
from registry.training.state import LoopState


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (None, ("wer", True)),
        ("wer", ("wer", True)),
        ("ece", ("ece", True)),
        ("loss", ("loss", True)),
        ("f1", ("f1", False)),
    ],
)
def test_which_way_a_metric_selects(asked, found):
    task = SimpleNamespace(selecting=lambda head: ("wer", True), less_is_better=("loss", "ece"))
    job = SimpleNamespace(task=task, head=None, options=SimpleNamespace(evaluation=SimpleNamespace(best_metric=asked)))
    assert Selection.of(job) == Selection(*found)


@pytest.mark.parametrize(
    ("minimize", "values", "best"),
    [
        (False, [0.5, 0.5, 0.7, 0.6], [True, False, True, False]),
        (True, [0.5, 0.5, 0.4, 0.6], [True, False, True, False]),
        (False, [float("nan"), 0.1, None, float("nan")], [False, True, False, False]),
    ],
)
def test_only_what_is_strictly_better_is_the_best(minimize, values, best):
    selection, state = Selection("f1", minimize), LoopState(update=1)
    assert [selection.record(state, {"f1": value}, None) for value in values] == best
    assert not state.stopped_early


def test_patience_counts_from_the_best():
    selection, state = Selection("f1", False), LoopState()
    for update, value in enumerate([0.5, 0.4, 0.6, 0.6, 0.5], start=1):
        state.update = update
        selection.record(state, {"f1": value}, 2)
        assert state.stopped_early == (update == 5)
    assert (state.best, state.best_update, state.stale) == (0.6, 3, 2)


def test_before_the_first_update_nothing_is_the_best():
    selection, state = Selection("f1", False), LoopState()
    assert not selection.record(state, {"f1": 0.9}, 1)
    assert (state.best, state.stale, state.stopped_early) == (None, 0, False)


def test_a_metric_that_there_is_not_is_named_before_the_first_update():
    with pytest.raises(ValueError, match="--best-metric accuarcy: validation has accuracy, loss"):
        Selection("accuarcy", False).record(LoopState(), {"loss": 1.0, "accuracy": 0.5}, None)
