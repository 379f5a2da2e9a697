"""What a continued run must have in common with the one before, and what it may change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from registry.resolving import resolve
from registry.training.resuming import check_agreement, check_options, frozen_weights, interval, read_state
from registry.training.state import LoopState

RUN = Path("runs/one")
FACTS = {
    "number of processes": 2,
    "engine": "DEEPSPEED",
    "device": "cuda",
    "ZeRO stage": 2,
    "precision": "bf16",
    "train rows of x.csv": "a" * 64,
}


def options(**changes: Any) -> dict[str, Any]:
    return resolve(changes, {}, {}).options.flat()


def test_state_is_read_where_nothing_else_has_changed(tmp_path: Path) -> None:
    state = LoopState(update=7, best=0.5, stale=2, logged=9)
    (tmp_path / "loop.json").write_text(json.dumps({"state": state.to_json(), "facts": FACTS}))
    assert read_state(tmp_path, FACTS) == state


@pytest.mark.parametrize(
    ("name", "now", "said"),
    [
        ("number of processes", 4, "number of processes 2, now it is 4"),
        ("engine", "MULTI_CPU", "engine DEEPSPEED, now it is MULTI_CPU"),
        ("device", "cpu", "device cuda, now it is cpu"),
        ("ZeRO stage", 3, "ZeRO stage 2, now it is 3"),
        ("precision", "fp32", "precision bf16, now it is fp32"),
        ("train rows of x.csv", "b" * 64, "train rows of x.csv aaaaaaaaaaaa…, now it is bbbbbbbbbbbb…"),
    ],
)
def test_what_would_make_another_training_is_refused_with_both_values(
    tmp_path: Path, name: str, now: Any, said: str
) -> None:
    (tmp_path / "loop.json").write_text(json.dumps({"state": LoopState().to_json(), "facts": FACTS}))
    with pytest.raises(ValueError, match=said):
        read_state(tmp_path, {**FACTS, name: now})


def test_the_same_rows_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "loop.json").write_text(json.dumps({"state": LoopState(update=3).to_json(), "facts": FACTS}))
    moved = {"train rows of /scratch/9/x.csv" if "rows" in name else name: value for name, value in FACTS.items()}
    assert read_state(tmp_path, moved).update == 3
    check_options(RUN, options(train_file="x.csv"), options(train_file="/scratch/9/x.csv"))


def test_an_option_that_is_younger_than_the_run_has_its_default() -> None:
    before = {name: value for name, value in options().items() if name != "task_option"}
    check_options(RUN, before, options())


def test_processes_that_found_other_rows_or_labels_do_not_train_together() -> None:
    check_agreement([FACTS, dict(FACTS)])
    with pytest.raises(ValueError, match=r"process 2 has other train rows of x\.csv than process 0; all must read the"):
        check_agreement([FACTS, FACTS, {**FACTS, "train rows of x.csv": "c" * 64}])


def test_options_that_change_no_weight_are_taken() -> None:
    check_options(RUN, options(), options(log_every=7, checkpoint_every="10m", keep=5, save_failure="continue"))


@pytest.mark.parametrize(("then", "asked"), [(False, "--no-packing"), (True, "--packing"), (None, "no --packing")])
def test_a_switch_is_named_as_it_is_typed(then: bool | None, asked: str) -> None:
    now = options(packing=then is False)
    with pytest.raises(ValueError, match=f"started with {asked}, now it is .*; give {asked}, or --overwrite"):
        check_options(RUN, {**now, "packing": then}, now)


def test_more_epochs_are_taken_where_the_schedule_knows_no_end() -> None:
    endless = {"schedule": "constant", "warmup": "100"}
    check_options(RUN, options(**endless, epochs="3"), options(**endless, epochs="4", max_updates="900"))
    for changes in ({"schedule": "linear"}, {"schedule": "constant", "warmup": "0.1"}):
        with pytest.raises(
            ValueError, match=r"started with --epochs 3\.0, now it is 4\.0; give --epochs 3\.0, or --over"
        ):
            check_options(RUN, options(**changes, epochs="3"), options(**changes, epochs="4"))


@pytest.mark.parametrize(("text", "expected"), [("500", (500, None)), ("10m", (None, 600.0)), ("0.5m", (None, 30.0))])
def test_checkpoints_come_by_updates_or_minutes(text: str, expected: tuple[int | None, float | None]) -> None:
    assert interval(text) == expected


@pytest.mark.parametrize("text", ["0", "0m", "1.5", "m", "-5", "10s", ""])
def test_another_interval_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="give updates \\(500\\) or minutes \\(10m\\)"):
        interval(text)


def test_frozen_weights_have_a_checksum_that_the_trained_ones_do_not_change() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, dtype=torch.bfloat16), nn.Embedding(5, 2))
    assert frozen_weights(module) == "0"
    module[0].requires_grad_(False)
    module[1].requires_grad_(False)
    before = frozen_weights(module)
    with torch.no_grad():
        module[2].weight.add_(1)
    assert frozen_weights(module) == before
    for part in (0, 1):
        with torch.no_grad():
            kept = module[part].weight[0, 0].clone()
            module[part].weight[0, 0] = kept * 1.01
            assert frozen_weights(module) != before
            module[part].weight[0, 0] = kept
    assert frozen_weights(module) == before
