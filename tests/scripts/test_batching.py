"""However an update is cut or packed, a run trains to the same weights, and it goes on exactly where it stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

SMALL = ("--max-train-rows", 96, "--max-validation-rows", 32, "--max-test-rows", 32, "--max-updates", 6)
ALIKE = ("--precision", "fp32", "--batch-size", 31, "--model-option", "dropout=0", "--log-every", 1)


def weights_of(run: str) -> dict:
    return load_file(Path(run) / "model" / "model.safetensors")


def largest_difference(run: str, reference: str) -> float:
    ours, theirs = weights_of(run), weights_of(reference)
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


@pytest.mark.parametrize("task", ["demo", "demo-ner"])
def test_packed_and_cut_by_tokens_a_run_trains_alike(train, task):
    assert train("--task", task, *SMALL, *ALIKE, "--output-dir", "plain").exit_code == 0
    result = train("--task", task, *SMALL, *ALIKE, "--packing", "--micro-batch-tokens", 100, "--output-dir", "packed")
    assert result.exit_code == 0, result.output
    assert "packed_sdpa" in result.output
    losses = [
        [line["loss"] for line in map(json.loads, (Path(run) / "metrics.jsonl").open()) if "learning_rate" in line]
        for run in ("plain", "packed")
    ]
    assert len(losses[0]) == 6
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert largest_difference("packed", "plain") < 1e-4


def test_a_packed_run_goes_on_to_the_same_weights(train, monkeypatch):
    from registry.training.interruption import REQUEUE, Interruption

    options = (*SMALL, "--packing", "--micro-batch-tokens", 100)
    assert train(*options, "--output-dir", "whole").exit_code == 0
    asked: list[int] = []

    def requested(self: Interruption) -> bool:
        asked.append(1)
        return len(asked) == 4

    with monkeypatch.context() as patched:
        patched.setattr(Interruption, "requested", requested)
        assert train(*options, "--output-dir", "cut").exit_code == REQUEUE
    assert train(*options, "--output-dir", "cut").exit_code == 0
    assert largest_difference("cut", "whole") == 0


def test_a_model_that_cannot_pack_says_so(train):
    result = train(*SMALL, "--model", "bow", "--packing")
    assert result.exit_code == 2
    assert "error: --packing: a model of this kind cannot keep texts in one row apart; leave it out" in result.output
