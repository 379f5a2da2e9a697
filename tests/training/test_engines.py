from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from registry.options import Optimization
from registry.training.engine_start import (
    accumulation_steps,
    build_accelerator,
    check_settings,
    configure_deepspeed,
    micro_batch_size,
)
from registry.training.engines import check_quantized, gathered_state
from registry.training.launch import read_launch
from registry.training.precision import Precision

FP32 = Precision("fp32", "asked for")


def test_micro_batch_and_accumulation_follow_from_the_batch() -> None:
    assert micro_batch_size(Optimization(batch_size=32), 1) == 32
    assert micro_batch_size(Optimization(batch_size=31), 2) == 16
    assert micro_batch_size(Optimization(batch_size=8, micro_batch_size=64), 2) == 4
    assert accumulation_steps(Optimization(batch_size=32), 4) == 1
    assert accumulation_steps(Optimization(batch_size=31, micro_batch_size=4), 2) == 4


def test_a_configuration_may_say_the_same_but_nothing_else() -> None:
    options = Optimization(batch_size=32, micro_batch_size=4, clip_norm=1.0)
    same = {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "ACCELERATE_GRADIENT_CLIPPING": "1.0", "WORLD_SIZE": "2"}
    check_settings(read_launch(same), options)
    with pytest.raises(ValueError, match=r"gradient_accumulation_steps: 1 of the launch .* from which 4 follow"):
        check_settings(read_launch({**same, "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1"}), options)
    with pytest.raises(ValueError, match=r"gradient_clipping: 0\.5 of the launch .* contradicts --clip-norm 1"):
        check_settings(read_launch({**same, "ACCELERATE_GRADIENT_CLIPPING": "0.5"}), options)


def test_deepspeed_is_told_batch_and_clipping() -> None:
    config = {"gradient_accumulation_steps": "auto", "train_micro_batch_size_per_gpu": "auto"}
    plugin = SimpleNamespace(deepspeed_config=config)
    configure_deepspeed(plugin, Optimization(batch_size=31, clip_norm=0.5), 2, FP32)
    assert config == {
        "train_micro_batch_size_per_gpu": 16,
        "train_batch_size": 32,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.5,
    }


def test_a_deepspeed_configuration_that_says_otherwise_is_named() -> None:
    for key, value in (("train_micro_batch_size_per_gpu", 3), ("train_batch_size", 64), ("gradient_clipping", 2.0)):
        with pytest.raises(ValueError, match=f"{key}: {value} of the DeepSpeed configuration contradicts"):
            configure_deepspeed(SimpleNamespace(deepspeed_config={key: value}), Optimization(batch_size=32), 2, FP32)


@pytest.mark.parametrize(
    ("precision", "kind", "enabled"), [("fp32", "bf16", True), ("tf32", "fp16", True), ("bf16", "bf16", False)]
)
def test_a_deepspeed_configuration_of_another_precision_is_named(precision: str, kind: str, enabled: bool) -> None:
    def configure(says: object) -> None:
        plugin = SimpleNamespace(deepspeed_config={kind: {"enabled": says}})
        configure_deepspeed(plugin, Optimization(), 2, Precision(precision, "asked for"))

    for agreeing in ("auto", not enabled):
        configure(agreeing)
    said = f"{kind}.enabled: {enabled} of the DeepSpeed configuration contradicts {precision}, the precision"
    with pytest.raises(ValueError, match=said):
        configure(enabled)


def test_deepspeed_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_MIXED_PRECISION", "DS_ACCELERATOR"):
        monkeypatch.setenv(name, {"DS_ACCELERATOR": "cpu"}.get(name, "true"))
    with pytest.raises(ValueError, match="asks for DeepSpeed, which is not installed: pip install deepspeed"):
        build_accelerator(Optimization(precision="fp32"))


def test_quantised_weights_are_not_cut() -> None:
    zero3 = SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=3), distributed_type="DEEPSPEED")
    check_quantized(zero3, None)
    with pytest.raises(ValueError, match="--quantize nf4 does not work with ZeRO-3 or FSDP"):
        check_quantized(zero3, "nf4")
    check_quantized(SimpleNamespace(deepspeed_plugin=None, distributed_type="MULTI_GPU"), "nf4")


def test_tied_weights_that_the_engine_copied_apart_are_one_tensor_again() -> None:
    model = torch.nn.ModuleDict({"embedding": torch.nn.Embedding(3, 2), "output": torch.nn.Linear(2, 3)})
    model["output"].weight = model["embedding"].weight
    accelerator = SimpleNamespace(
        distributed_type=SimpleNamespace(value="DEEPSPEED"),
        get_state_dict=lambda model: {name: value.clone() for name, value in model.state_dict().items()},
        unwrap_model=lambda model: model,
        deepspeed_engine_wrapped=object(),
    )
    state = gathered_state(accelerator, model)
    assert state["output.weight"] is state["embedding.weight"]
    assert torch.equal(state["output.bias"], model["output"].bias)


def test_a_model_that_was_never_handed_to_deepspeed_is_read_as_it_is() -> None:
    model = torch.nn.Linear(2, 3)
    accelerator = SimpleNamespace(
        distributed_type=SimpleNamespace(value="DEEPSPEED"), deepspeed_engine_wrapped=None, is_main_process=True
    )
    assert gathered_state(accelerator, model).keys() == model.state_dict().keys()


def test_an_error_of_the_first_process_stops_all_in_one_line() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, str(Path(__file__).with_name("stop_together.py"))],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if "error: " in line] == ["error: row 7 has no label"]
    assert "went on" not in done.stdout
    assert "exitcode  : 2" in done.stderr


def test_a_part_called_module_is_not_taken_for_a_wrapper():
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module, self.head = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)

    accelerator = SimpleNamespace(distributed_type=SimpleNamespace(value="NO"), is_main_process=True)
    assert set(gathered_state(accelerator, Net())) == {"module.weight", "module.bias", "head.weight", "head.bias"}
