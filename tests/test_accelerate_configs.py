"""Every launch configuration is read by accelerate's own loader and starts what it says, as far as this machine can."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[1] / "accelerate_configs"
CONFIGS = sorted(FOLDER.glob("*.yaml"))
ASKED_FOR = [
    *("cpu", "cpu_ddp", "single_gpu", "multi_gpu", "fp16", "bf16", "fsdp2", "multi_node"),
    *("deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3", "deepspeed_zero2_offload", "deepspeed_zero3_offload"),
    *("deepspeed_zero1_cpu", "deepspeed_zero2_cpu", "deepspeed_zero3_cpu"),
]
ENGINES = {
    "cpu": "1 process, cpu",
    "cpu_ddp": "DDP, 2 processes, cpu (gloo)",
    "deepspeed_zero1_cpu": "DeepSpeed ZeRO-1, 2 processes, cpu (gloo)",
    "deepspeed_zero2_cpu": "DeepSpeed ZeRO-2, 2 processes, cpu (gloo)",
    "deepspeed_zero3_cpu": "DeepSpeed ZeRO-3, 2 processes, cpu (gloo)",
    "deepspeed_zero2_offload_cpu": "DeepSpeed ZeRO-2, offload to cpu, 2 processes, cpu (gloo)",
    "deepspeed_zero3_offload_cpu": "DeepSpeed ZeRO-3, offload to cpu, 2 processes, cpu (gloo)",
}
SCRIPT = """
from registry.cli import friendly
from registry.options import Optimization

@friendly
def main():
    from registry.training.engine_start import build_accelerator
    from registry.training.engines import describe_engine
    accelerator, precision = build_accelerator(Optimization())
    if accelerator.is_main_process:
        print("engine:", describe_engine(accelerator), "/", precision.name)
    accelerator.end_training()

main()
"""


def launch(config: str, directory: Path) -> subprocess.CompletedProcess[str]:
    script = directory / "start.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(FOLDER / f"{config}.yaml")]
    told = ("CUDA_VISIBLE_DEVICES", "DS_ACCELERATOR")  # the latter by a test that trained in this process
    environment = {name: value for name, value in os.environ.items() if name not in told}
    environment["OMP_NUM_THREADS"] = "1"
    return subprocess.run([*command, str(script)], capture_output=True, text=True, env=environment, timeout=250)


def test_all_are_there() -> None:
    assert {path.stem for path in CONFIGS} >= set(ASKED_FOR)
    assert (FOLDER / "slurm.sh").is_file()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_is_commented_and_leaves_the_options_their_say(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    text = path.read_text()
    assert text.startswith("# ")
    assert f"accelerate_configs/{path.name}" in text
    loaded = load_config_from_file(str(path))
    values = yaml.safe_load(text)
    assert loaded.num_processes == values["num_processes"]
    nested = {**values, **values.get("deepspeed_config", {}), **values.get("fsdp_config", {})}
    assert not {"gradient_accumulation_steps", "gradient_clipping", "deepspeed_config_file"} & set(nested)
    if values.get("deepspeed_config", {}).get("zero_stage") == 3:
        assert values["deepspeed_config"]["zero3_save_16bit_model"] is True


@pytest.mark.parametrize("path", [p for p in CONFIGS if p.stem.endswith("_cpu")], ids=lambda path: path.stem)
def test_a_twin_differs_only_in_where_it_runs(path: Path) -> None:
    twin, original = (yaml.safe_load(p.read_text()) for p in (path, path.with_name(path.name.replace("_cpu", ""))))
    assert twin.pop("gpu_ids") == "-1,-1"
    differing = {"num_processes", "mixed_precision"}
    assert {k: v for k, v in twin.items() if k not in differing} == {
        k: v for k, v in original.items() if k not in differing
    }


def test_the_engine_that_runs_is_the_one_asked_for(tmp_path: Path) -> None:
    done = launch("cpu_ddp", tmp_path)
    assert f"engine: {ENGINES['cpu_ddp']} / " in done.stdout, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("config", [name for name in ENGINES if name != "cpu_ddp"])
def test_every_cpu_configuration_starts_what_it_says(config: str, tmp_path: Path) -> None:
    done = launch(config, tmp_path)
    assert f"engine: {ENGINES[config]} / " in done.stdout, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("config", ["single_gpu", "fp16", "multi_gpu", "deepspeed_zero2", "fsdp2"])
def test_a_gpu_configuration_stops_in_one_line_without_a_gpu(config: str, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = launch(config, tmp_path)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr[-2000:]
    assert "on a GPU, but torch sees none" in lines[0]
