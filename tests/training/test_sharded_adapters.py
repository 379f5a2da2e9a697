"""Adapters that ZeRO-2 and ZeRO-3 have trained are those of one process, and load as they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from test_parity import BATCH, train

from registry.models.adapters import unadapted
from registry.runs import Run, load_run

LORA = ("--lora-rank", "4", "--learning-rate", "2e-3")
"""Faster, and the last bit of a sum grows to a thousandth of a probability in 40 updates."""


def validation_losses(run: Path) -> tuple[float, float]:
    """(of the best weights as the engine held them, of those that were saved and loaded again)."""
    results = json.loads((run / "metrics.json").read_text())
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    held = [v["loss"] for v in lines if (v["split"], v["update"]) == ("validation", results["best_update"])]
    return held[0], results["validation"]["loss"]


def parameters(run: Path) -> tuple[int, int]:
    """(all, trained ones) as the run says."""
    cost = json.loads((run / "metrics.json").read_text())["train"]
    return cost["parameters"], cost["trainable_parameters"]


def probabilities(run: Run, texts: list[str]) -> torch.Tensor:
    return torch.tensor([list(line["scores"].values()) for line in run.predict(texts)])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_they_reload_to_the_same_predictions(tmp_path: Path) -> None:
    reference = load_run(train(tmp_path, "demo", "cpu", BATCH, updates=40, more=LORA))
    validation = (reference.directory.path / "predictions" / "validation.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in validation]
    expected = probabilities(reference, texts)
    assert expected.std(dim=0).min() > 1e-3  # something was learned that can be the same
    for config in ("deepspeed_zero2_cpu", "deepspeed_zero3_cpu"):
        path = train(tmp_path, "demo", config, 16, updates=40, more=LORA)
        assert parameters(path) == parameters(reference.directory.path)
        held, loaded = validation_losses(path)
        assert abs(held - loaded) < 1e-6, config
        run = load_run(path)
        torch.testing.assert_close(probabilities(run, texts), expected, rtol=0, atol=1e-4)
        base = unadapted(run.spec).load(path / "model" / "base", run.record.head)
        run.model = PeftModel.from_pretrained(base, str(path / "model")).eval()
        torch.testing.assert_close(probabilities(run, texts), expected, rtol=0, atol=1e-4)
