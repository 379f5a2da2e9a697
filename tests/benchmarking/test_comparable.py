"""Which options a comparison takes."""

from __future__ import annotations

from typing import Any

import pytest

from registry.benchmarking.comparable import check_options
from registry.options import Options
from registry.resolving import resolve


def options_of(**typed: Any) -> Options:
    return resolve(typed, {}, {}).options


@pytest.mark.parametrize(
    "typed",
    [
        {},
        {"schedule": "wsd", "warmup": 0.1, "freeze": "encoder", "precision": "bf16", "lora_rank": 4, "clip_norm": 0.0},
        {"packing": True, "compile": True, "micro_batch_tokens": 4096, "embedding_rows": "all", "attention": "eager"},
        {"evaluate_every": 5, "log_every": 1, "max_length": 64, "lowercase": True, "gradient_checkpointing": True},
    ],
)
def test_what_both_sides_heed_or_ours_alone_can_use_is_taken(typed: dict[str, Any]) -> None:
    check_options(options_of(**typed), 2)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"optimizer": "sgd"}, "--optimizer sgd: Trainer would ignore it; set it to adamw, or measure"),
        ({"layer_decay": 0.9}, "--layer-decay 0.9: .* set it to 1.0"),
        ({"head_learning_rate": 1e-3}, "--head-learning-rate 0.001: .* leave it out"),
        ({"augment_delete": 0.1}, "--augment-delete"),
        ({"r_drop": 1.0}, "--r-drop"),
        ({"ema_decay": 0.9}, "--ema-decay"),
        ({"patience": 2}, "--patience"),
        ({"precision": "tf32"}, "--precision tf32"),
        ({"deterministic": True}, "--deterministic True: .* set it to false"),
        ({"output_dir": "runs/x"}, "--output-dir"),
        ({"batch_size": 33}, "--batch-size 33: Trainer needs as many in each of 2 processes"),
        ({"max_updates": 0}, "nothing to compare"),
    ],
)
def test_anything_else_is_refused_in_one_line(typed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check_options(options_of(**typed), 2)
    assert "\n" not in str(caught.value)
