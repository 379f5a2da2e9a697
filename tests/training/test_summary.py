"""The start-up summary says where values came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState, GradientState, PartialState

from registry.training.assembly import assemble, choose
from registry.training.engine_start import build_accelerator
from registry.training.setup import build_setup
from registry.training.summary import summarise

ROWS = {"max_train_rows": 32, "max_validation_rows": 10, "max_test_rows": 10}


def summary(typed: dict[str, Any], config: dict[str, Any]) -> dict[str, str]:
    """The rows of a job's summary, by name."""
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    choice = choose({"precision": "fp32", **ROWS, **typed}, config)
    accelerator, precision = build_accelerator(choice.options.optimization)
    job = assemble(choice, lambda text: None)
    return dict(summarise(job, build_setup(job, accelerator, precision)))


@pytest.mark.parametrize(
    ("typed", "config", "shown"),
    [
        ({}, {}, "0.1 (model)"),
        ({"lora_rank": 2, "lora_dropout": 0.3}, {}, "0.1 (model)"),
        ({"model_option": {"dropout": "0"}}, {}, "0 (option)"),
        ({}, {"model_option": {"hidden_dropout_prob": 0.2}}, "0.1, 0.2 (config)"),
    ],
)
def test_dropout_is_shown_with_its_origin(
    typed: dict[str, Any], config: dict[str, Any], shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path / "cache"))
    assert summary(typed, config)["dropout"] == shown


def test_what_a_task_recommends_is_the_tasks() -> None:
    resolved = choose({"task": "imdb"}, {}).resolved
    assert (resolved.options.text.max_length, resolved.origins["max_length"]) == (256, "task")


def test_updates_of_words_are_random_and_packed_on_a_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path / "cache"))
    words = {"task": "demo-ner", "model": "tiny"}
    resolved = choose(words, {}).resolved
    assert (resolved.options.optimization.group_by_length, resolved.origins["group_by_length"]) == (False, "task")
    assert summary(words, {})["padding"].startswith("none, texts are packed")
    assert summary({**words, "packing": False}, {})["padding"].endswith("in random batches")
    assert "length-grouped" in summary({**words, "group_by_length": True, "packing": False}, {})["padding"]


def test_random_weights_that_stay_random_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path / "cache"))
    sizes = {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    scratch = {"model": "bert", "from_scratch": True, "model_option": sizes}
    assert "parameters, drawn at random" in summary(scratch, {})["model"]
    assert "stay random" not in summary(scratch, {})["model"]
    assert summary({**scratch, "freeze": "encoder"}, {})["model"].endswith("trainable (the others stay random)")
    assert "random" not in summary({}, {})["model"]
