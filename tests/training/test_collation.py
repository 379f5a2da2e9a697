"""Collation of training batches, and updates cut by tokens: the same gradients as in one piece."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_parity import BATCH, largest_differences, train
from torch import nn

from registry import models, tasks
from registry.inference import EncodedColumns
from registry.models.base import ModelSource
from registry.options import Kernels, Options, Run
from registry.tasks.base import Limits
from registry.testing.bench import Bench
from registry.training.batches import Updates
from registry.training.collation import allow_packing, build_collate, length_step, padding_step, pinned
from registry.training.objectives import task_loss
from registry.training.plan import UpdatePlan

TINY = dataclasses.replace(models.get("tiny"), dropout=0.0)


def job(bench: Bench, **kernels: Any) -> Any:
    """What collation reads of a job."""
    options = Options(run=Run(seed=7), kernels=Kernels(**kernels))
    return SimpleNamespace(
        task=bench.task, spec=bench.spec, tokenizer=bench.tokenizer, options=options, limits=Limits(max_length=20)
    )


def bench(task: str, model: Any = TINY) -> Bench:
    return Bench(tasks.get(task), model, ModelSource(), Limits(max_length=20))


def gradients(bench: Bench, module: nn.Module, tokens: int | None, world_size: int, *, packing: bool) -> dict[str, Any]:
    """Gradients of one update over all examples, summed over processes and micro-batches; `steps` of each process."""
    encoded: EncodedColumns = bench.encoded
    plan = UpdatePlan(encoded.lengths, batch_size=len(encoded), seed=1, micro_batch_tokens=tokens)
    collate = build_collate(job(bench), step=None, packing=packing)
    objective = task_loss(bench.task, bench.head, wants_labels=False)
    module.zero_grad()
    steps, count = [], 0.0
    for rank in range(world_size):
        updates = Updates(
            plan, lambda epoch: encoded, collate, rank=rank, world_size=world_size, micro_batch_size=len(encoded)
        )
        (update,) = updates.between(0, 1)
        steps.append(len(update.micro_batches))
        for batch in update.micro_batches:
            count += bench.task.count(batch)
            objective(module, batch)[0].backward()
    found = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    return {**found, "count": torch.tensor(count), "steps": steps}


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("task", ["demo", "demo-ner", "demo-mlm", "demo-qa"])
def test_an_update_cut_by_tokens_has_the_gradients_of_one_piece(task: str, packing: bool) -> None:
    used = bench(task)
    module = used.build().train()
    expected = gradients(used, module, None, 1, packing=False)
    assert expected.pop("steps") == [1]
    if packing:
        used.spec.allow_packing(module)
    for world_size, tokens in ((1, 60), (2, 40), (3, 24)):
        found = gradients(used, module, tokens, world_size, packing=packing)
        steps = found.pop("steps")
        assert len(set(steps)) == 1
        assert steps[0] > 1
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_lengths_are_steps_where_kernels_gain() -> None:
    used = bench("demo")
    odd = np.flatnonzero(used.encoded.lengths % 8)[0]
    features, longest = used.encoded.rows([odd]), int(used.encoded.lengths[odd])

    def width(device: str, mixed_precision: str, **kernels: Any) -> int:
        own = job(used, **kernels)
        step = padding_step(own, device=device, mixed_precision=mixed_precision)
        return int(build_collate(own, step=step, packing=False)(features, 0)["inputs"]["input_ids"].shape[1])

    assert width("cpu", "bf16") == width("cuda", "no") == longest
    assert width("cuda", "bf16") == width("cuda", "fp16") == width("cpu", "no", compile=True) == longest + -longest % 8


def test_no_step_goes_beyond_the_last_position() -> None:
    assert length_step(128, 128) == length_step(125, 128) == 8
    assert length_step(510, 511) is None


def test_models_that_padding_disturbs_get_no_more_of_it() -> None:
    disturbed = bench("demo", dataclasses.replace(TINY, pads_freely=False))
    assert padding_step(job(disturbed), device="cuda", mixed_precision="bf16") is None


def test_every_tensor_of_a_gpus_batch_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    used = bench("demo-ner")
    seen: list[int] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: seen.append(id(tensor)) or tensor)
    plain = build_collate(job(used), step=None, packing=True)(features := used.encoded.rows(range(3)), 0)
    batch = pinned(lambda features, epoch: plain, torch.device("cuda"))(features, 0)
    leaves = [v for value in batch.values() for v in (value.values() if isinstance(value, dict) else [value])]
    assert seen == [id(leaf) for leaf in leaves]
    assert batch.keys() == plain.keys()
    assert batch["inputs"].keys() == plain["inputs"].keys()


def test_packing_is_refused_in_one_line() -> None:
    network = bench("demo", models.get("textcnn"))
    with pytest.raises(ValueError, match="--packing: a model of this kind cannot keep texts in one row apart"):
        allow_packing(job(network, packing=True), network.build(), "cpu")
    with pytest.raises(ValueError, match="--packing and --compile do not go together"):
        allow_packing(job(bench("demo"), packing=True, compile=True), nn.Linear(1, 1), "cpu")


def test_updates_are_packed_unasked_where_that_gains() -> None:
    def packs(model: Any, device: str = "cpu", **kernels: Any) -> bool:
        used = bench("demo-ner", model)
        return allow_packing(job(used, **kernels), used.build(), device)

    assert packs(TINY)
    assert packs(TINY, "cuda", packing=True)
    assert not packs(TINY, "cuda")
    assert not packs(TINY, packing=False)
    assert not packs(TINY, compile=True)
    assert not packs(models.get("bilstm"))


def test_padding_is_what_a_bound_on_tokens_counts() -> None:
    lengths = np.array([3, 4, 5, 30])
    steps = UpdatePlan(lengths, 4, seed=0, micro_batch_tokens=32).micro_batches(np.arange(4), 1, 4)
    assert [sorted(int(n) for n in lengths[step[0]]) for step in steps] == [[3, 4, 5], [30]]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_engines_train_packed_and_cut_by_tokens_alike(tmp_path: Path) -> None:
    """The number of micro-batches changes from update to update, also under DeepSpeed."""
    reference = train(tmp_path, "demo-ner", "cpu", BATCH, updates=8)
    for config in ("cpu_ddp", "deepspeed_zero2_cpu"):
        bounds = ("--packing", "--micro-batch-tokens", "100")
        loss, metric, weight = largest_differences(
            train(tmp_path, "demo-ner", config, BATCH, updates=8, more=bounds), reference
        )
        assert loss < 1e-5
        assert metric < 1e-4
        assert weight < 1e-4
