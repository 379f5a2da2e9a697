"""FSDP trains what one process trains, and goes on from its pieces; on two CPU processes (`fsdp_on_cpu`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from faults.kit import ROOT, differences
from test_parity import largest_differences, losses
from torch import nn

from registry.training.fsdp import as_cut, choose_layers, cut_again, piece, pieces_suffix

OPTIONS = [
    *("--batch-size", "31", "--max-train-rows", "100", "--max-validation-rows", "21", "--max-test-rows", "10"),
    *("--max-updates", "8", "--log-every", "1", "--evaluate-every", "3", "--checkpoint-every", "3"),
    *("--precision", "fp32", "--model-option", "dropout=0", "--ema-decay", "0.9", "--layer-decay", "0.8"),
]


def train(folder: Path, run: str, config: str, *script: str, micro_batch: int, status: int | None = 0) -> Path:
    """The run directory of a training through accelerate; it ends with `status` (None: killed)."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--config_file"]
    command = [*launcher, str(ROOT / "accelerate_configs" / f"{config}.yaml"), *script, *OPTIONS]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "REGISTRY_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [*command, "--micro-batch-size", str(micro_batch), "--output-dir", run],
        env=environment,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=280,
    )
    expected = done.returncode == status if status is not None else "Signal 9" in done.stderr
    assert expected, done.stdout + done.stderr[-4000:]
    return folder / run


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_pieces_train_like_the_whole_and_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    tests, script = ROOT / "tests", str(ROOT / "scripts" / "train.py")
    fsdp, killing = str(tests / "training" / "fsdp_on_cpu.py"), str(tests / "faults" / "one_rank.py")
    reference = train(tmp_path, "reference", "cpu", script, micro_batch=31)
    whole = train(tmp_path, "whole", "cpu_ddp", fsdp, script, micro_batch=8)
    assert json.loads((whole / "metrics.json").read_text())["train"]["engine"] == "FSDP, 2 processes, cpu (gloo)"
    assert len(losses(whole)) == 8
    loss, metric, weight = largest_differences(whole, reference)
    assert max(loss, metric) < 1e-5
    assert weight < 1e-4
    kill = (fsdp, killing, "all", "SIGKILL", "after-update", "6")
    killed = train(tmp_path, "killed", "cpu_ddp", *kill, micro_batch=8, status=None)
    assert [path.name for path in (killed / "checkpoints").glob("step-*")] == ["step-00000003"]
    assert train(tmp_path, "killed", "cpu_ddp", fsdp, script, micro_batch=8) == killed
    assert differences(whole, killed) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_tied_embeddings_train_like_the_whole(tmp_path: Path) -> None:
    script = str(ROOT / "scripts" / "train.py"), "--task", "demo-mlm"
    fsdp = str(ROOT / "tests" / "training" / "fsdp_on_cpu.py")
    reference = train(tmp_path, "reference", "cpu", *script, micro_batch=31)
    whole = train(tmp_path, "whole", "cpu_ddp", fsdp, *script, micro_batch=8)
    loss, metric, _ = largest_differences(whole, reference)
    assert max(loss, metric) < 1e-4


def fsdp() -> SimpleNamespace:
    """What an accelerator says of itself."""
    state = SimpleNamespace(fsdp_plugin=SimpleNamespace(transformer_cls_names_to_wrap=None))
    return SimpleNamespace(distributed_type="FSDP", process_index=1, state=state)


def test_the_layers_of_a_stack_are_cut_and_nothing_around_them() -> None:
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "num_hidden_layers": 2}
    accelerator = fsdp()
    choose_layers(accelerator, BertForSequenceClassification(BertConfig(**sizes, vocab_size=10)))
    assert accelerator.state.fsdp_plugin.transformer_cls_names_to_wrap == ["BertLayer"]
    choose_layers(accelerator, nn.Linear(2, 2))
    assert accelerator.state.fsdp_plugin.transformer_cls_names_to_wrap == ["BertLayer"]  # said already
    accelerator = fsdp()
    choose_layers(accelerator, nn.Linear(2, 2))
    assert accelerator.state.fsdp_plugin.transformer_cls_names_to_wrap == []


def test_without_fsdp_nothing_is_in_pieces() -> None:
    parameter = nn.Parameter(torch.ones(3))
    assert pieces_suffix(fsdp()) == "-1"
    assert pieces_suffix(SimpleNamespace(distributed_type="MULTI_GPU", process_index=1)) == ""
    assert piece(parameter).data_ptr() == parameter.data_ptr()
    held = torch.zeros(3)
    assert as_cut(held, parameter) is held
    cut_again(nn.Linear(2, 2))
