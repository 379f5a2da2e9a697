"""Batches by length, and the engine that training, evaluation, prediction and service share."""

from __future__ import annotations

import numpy as np
import pytest

from registry.inference import EncodedColumns, Interrupted, batch_indices, infer


def test_batches_hold_every_example_once_within_the_budget():
    lengths = np.random.default_rng(0).integers(1, 60, 500)
    batches = batch_indices(lengths, 256)
    assert sorted(np.concatenate(batches)) == list(range(500))
    assert all(lengths[b].max() * len(b) <= 256 for b in batches)
    longest = [lengths[b].max() for b in batches]
    assert longest == sorted(longest, reverse=True)


def test_an_example_over_the_budget_goes_alone():
    assert [b.tolist() for b in batch_indices(np.array([5, 300, 5]), 100)] == [[1], [0, 2]]


def test_equal_lengths_are_never_mixed():
    lengths = np.array([3, 4, 3, 4, 5])
    batches = batch_indices(lengths, 1000, equal_lengths=True)
    assert [sorted(b.tolist()) for b in batches] == [[4], [1, 3], [0, 2]]


def test_no_examples_make_no_batches():
    assert batch_indices(np.array([], dtype=np.int32), 100) == []


def test_batched_is_alone(make_run):
    from registry import load_run

    run = load_run(make_run())
    texts = ["good", "the film was not good at all but the ending", "a bad hotel"] * 5
    together = run.predict(texts)
    alone = [run.predict([text])[0] for text in texts]
    for one, other in zip(together, alone, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)
    assert len({round(p["score"], 6) for p in together}) == 3


def test_inference_stops_when_asked_and_leaves_the_mode_alone(make_run):
    from registry import load_run

    run = load_run(make_run())
    examples = run.task.from_inputs(["good"] * 4)
    encoded = run.encode(examples)
    assert isinstance(encoded, EncodedColumns)
    batches = [np.array([i]) for i in range(4)]
    seen: list[int] = []
    run.model.train()
    with pytest.raises(Interrupted):
        infer(
            run.model,
            run.task,
            run.record.head,
            run.tokenizer,
            encoded,
            device="cpu",
            batches=batches,
            interrupted=lambda: len(seen) == 2,
            on_batch=seen.append,
        )
    assert seen == [1, 1]
    assert run.model.training
