"""Trainer's side of a comparison: what must be equal to ours, is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from registry.benchmarking.peer import PeerTrainer, build_trainer, train_with_trainer
from registry.benchmarking.round import _flops_per_second
from registry.options import SCHEDULES
from registry.training.assembly import Job, assemble, choose
from registry.training.schedules import multiplier, warmup_updates
from registry.training.setup import build_groups, build_module

ROWS = {"max_train_rows": 100, "max_validation_rows": 40, "epochs": 1.0, "precision": "fp32"}


def job_of(task: str = "demo", **options: Any) -> Job:
    return assemble(choose({"task": task, "model": "tiny", **ROWS, **options}, {}), lambda text: None)


def trainer_of(job: Job, folder: Path, kind: str = "default") -> PeerTrainer:
    return build_trainer(job, kind=kind, precision="fp32", directory=folder)


class Rates(TrainerCallback):
    """The rate that every update is made with."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_pre_optimizer_step(self, *arguments: Any, optimizer: torch.optim.Optimizer, **values: Any) -> None:
        self.found.append(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "cosine"])
def test_every_update_has_our_rate(schedule: str, tmp_path: Path) -> None:
    job = job_of(schedule=schedule, warmup=0.3, learning_rate=1e-3, batch_size=10, max_updates=8)
    trainer, rates = trainer_of(job, tmp_path), Rates()
    trainer.add_callback(rates)
    assert trainer.train().global_step == 8
    warmup = warmup_updates(0.3, 8)
    assert rates.found == [1e-3 * multiplier(schedule, n, warmup_updates=warmup, total_updates=8) for n in range(8)]


@pytest.mark.parametrize(("epochs", "max_updates"), [(1.3, None), (3.0, 5)])
def test_the_number_of_updates_is_ours(epochs: float, max_updates: int | None, tmp_path: Path) -> None:
    job = job_of(epochs=epochs, max_updates=max_updates, batch_size=32)
    assert trainer_of(job, tmp_path, "best").train().global_step == (max_updates or 6)


@pytest.mark.parametrize("freeze", [None, "encoder"])
def test_weights_and_what_is_trained_and_decayed_are_ours(freeze: str | None, tmp_path: Path) -> None:
    job = job_of(freeze=freeze)
    trainer, module = trainer_of(job, tmp_path), build_module(job)
    assert trainer.model is not None
    for (name, a), (_, b) in zip(trainer.model.named_parameters(), module.named_parameters(), strict=True):
        assert torch.equal(a, b), name
        assert a.requires_grad == b.requires_grad, name
    ours = {id(p): g["weight_decay"] for g in build_groups(job, trainer.model) for p in g["params"]}
    theirs = {id(p): g["weight_decay"] for g in trainer.create_optimizer().param_groups for p in g["params"]}
    assert ours == theirs


def test_a_frozen_part_stays_as_it_was(tmp_path: Path) -> None:
    trainer = trainer_of(job_of(freeze="encoder", max_updates=2), tmp_path)
    assert trainer.model is not None
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    changed = {name for name, p in trainer.model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name, p in trainer.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("task", ["demo-ner", "demo-mlm"])
def test_figures_are_of_all_examples(task: str, tmp_path: Path) -> None:
    job = job_of(task, batch_size=8)
    rows = len(job.encoded["train"])
    values = train_with_trainer(job, kind="best", precision="fp32", directory=tmp_path)
    assert values["updates"] == -(-rows // 8)
    assert values["samples_per_second"] * values["seconds"] == pytest.approx(rows)
    assert values["tokens_per_second"] * values["seconds"] == pytest.approx(job.encoded["train"].lengths.sum())
    assert np.isfinite([values["loss"], values["metric"], values["peak_memory_mb"]]).all()


@pytest.mark.parametrize("rate", [0.15, 0.6])
def test_as_many_tokens_are_masked(rate: float, tmp_path: Path) -> None:
    job = job_of("demo-mlm", task_option={"mask_rate": str(rate)})
    trainer, rows = trainer_of(job, tmp_path), len(job.encoded["train"])
    assert trainer.data_collator is not None
    batch = trainer.data_collator([trainer.train_dataset[index] for index in range(rows)])
    special = np.isin(batch["input_ids"], job.tokenizer.all_special_ids) & (batch["labels"] == -100).numpy()
    masked = float((batch["labels"] != -100).sum()) / float((~special).sum())
    assert masked == pytest.approx(rate, rel=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task_option": {"label_smoothing": "0.1"}}, "its loss .* is not the model's own"),
        ({"task": "demo-qa", "task_option": {"label_smoothing": "0.1"}}, "its loss .* is not the model's own"),
        ({"model": "lstm"}, "Trainer needs a model of transformers"),
        ({"task": "demo-mlm", "task_option": {"whole_word": "true"}}, "whole_word=true"),
    ],
)
def test_another_loss_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        trainer_of(job_of(**options), tmp_path)


def test_multiplications_are_counted_for_what_trains() -> None:
    options = {"task": "demo", "model": "tiny", **ROWS}
    whole, frozen = (
        _flops_per_second({**options, **more}, {"tokens_per_second": 1.0}) for more in ({}, {"freeze": "encoder"})
    )
    assert 0.3 < frozen / whole < 0.4
